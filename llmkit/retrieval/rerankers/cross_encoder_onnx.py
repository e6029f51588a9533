"""A cross-encoder as an ONNX graph: question and passage in one sequence, one number out (Nogueira & Cho 2019).

::

    [CLS] question [SEP] passage [SEP] ─ the encoder's layers ─┬─ first token ─ dense ─ tanh ─┬─ dense ─► score
                                                              └─ mean over the mask ─────────┘

The first token with its dense layer is how transformers saves a BERT or RoBERTa classifier of one label; the mean is
what `llmkit train reranker` makes of an encoder that was trained with mean pooling.
"""

from __future__ import annotations

from llmkit.encoders.runtime.bert_graph import BertGraph, Pooling
from llmkit.errors import ModelError


def write_cross_encoder(graph: BertGraph, pooling: Pooling) -> bytes:
    """Write a cross-encoder into an empty graph and serialise it.

    Inputs are ``input_ids``, ``attention_mask`` and, where the model has them, ``token_type_ids``, int64 (batch,
    length); the output is ``score``, float32 (batch, 1).

    Raises:
        ModelError: no classification head, or one with more than one label.
    """
    folder, config, values = graph.folder, graph.config, graph.tensors
    prefix, graph.prefix = graph.prefix, ""  # heads stand beside the encoder, not below it
    outer = "classifier.out_proj" if "classifier.out_proj.weight" in values else "classifier"
    head = values.get(f"{outer}.weight")
    if head is None:
        raise ModelError(
            f"{folder} is an encoder without a classification head, not a cross-encoder: it scores no pairs. "
            f"`llmkit train reranker` makes one of it"
        )
    if len(head) != 1:
        raise ModelError(f"{folder} has {len(head)} labels; a reranker has one, the relevance")
    graph.prefix = prefix
    pairs = int(config.get("type_vocab_size", 2)) > 1
    x = graph.pooled(graph.trunk(pairs=pairs), pooling)
    inner = next((name for name in (f"{prefix}pooler.dense", "classifier.dense") if f"{name}.weight" in values), None)
    graph.prefix = ""
    if pooling == "cls" and inner is not None:
        x = graph.op("Tanh", graph.dense(inner, x))
    score = graph.dense(outer, x)
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if pairs else [])]
    return graph.finish(inputs, score, "score", ["batch", 1])
