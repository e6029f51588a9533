"""The command `llmkit train mine`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.errors import ConfigError


@click.command("mine")
@click.argument("data")
@click.option("--kb", metavar="DIR", help="Mine in a knowledge base, with its encoder.")
@click.option("--corpus", metavar="FILE", help="Mine in a JSONL of passages: id, title, text.")
@click.option("--encoder", default="local", show_default=True, metavar="SPEC", help="With a corpus: the retriever.")
@click.option("--out", required=True, metavar="FILE", help="Where the examples go, as JSONL.")
@click.option("--sources", default="bm25,dense", show_default=True, metavar="LIST", help="bm25, dense, or both.")
@click.option("--depth", type=click.IntRange(1, 1000), default=50, show_default=True, help="Candidates a source.")
@click.option("--keep", type=click.IntRange(1, 100), default=8, show_default=True, help="Negatives a question.")
@click.option(
    "--margin", type=click.FloatRange(0, 1), default=0.95, show_default=True,
    help="A negative scores below this share of the best positive.",
)  # fmt: skip
@click.option("--reranker", metavar="SPEC", help="A reranker that screens, and whose scores are kept for distillation.")
def command(
    data: str,
    kb: str | None,
    corpus: str | None,
    encoder: str,
    out: str,
    sources: str,
    depth: int,
    keep: int,
    margin: float,
    reranker: str | None,
) -> None:
    """Hard negatives for DATA: a file or folder, or YAML as in '{type: qa, path: nq, questions: train.jsonl}'."""
    from llmkit import config
    from llmkit.cli.common.progress import ProgressBar
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.training.data import load, mined_format
    from llmkit.training.data.corpus_index import CorpusIndex, read_corpus
    from llmkit.training.data.detect_format import detect_source
    from llmkit.training.data.hard_negatives import mine

    chosen = [word.strip() for word in sources.split(",")]
    if not chosen or not set(chosen) <= {"bm25", "dense"}:
        raise ConfigError(f"--sources: bm25, dense, or bm25,dense, not {sources!r}")
    if kb and corpus:
        raise ConfigError("give --kb or --corpus, not both")
    given = detect_source(data)
    ranker = config.build_part("reranker", config.parse(f"part: {reranker}").values["part"]) if reranker else None
    found = load.read(given.examples())
    for line in found.notes():
        click.echo(line, err=True)
    if kb:
        index = CorpusIndex.from_knowledge_base(KnowledgeBase.open(kb))
    else:
        passages = read_corpus(Path(corpus)) if corpus else load.passages(given.documents())
        if not passages:
            raise ConfigError(f"{data} has no corpus: give --corpus FILE or --kb DIR")
        part = config.build_part("encoder", config.parse(f"part: {encoder}").values["part"])
        click.echo(f"encoding {len(passages)} passages", err=True)
        index = CorpusIndex.build(passages, part)  # type: ignore[arg-type]
        if index.cut:
            click.echo(f"{index.cut} passages were cut at what the encoder reads", err=True)
    with ProgressBar("questions", quiet=False) as bar:
        result = mine(
            found.examples, index, depth=depth, keep=keep, margin=margin, sources=chosen, reranker=ranker,  # type: ignore[arg-type]
            on_progress=lambda done, total: bar.show(done, total, "mined"),
        )  # fmt: skip
    for line in result.notes():
        click.echo(line, err=True)
    mined_format.write(Path(out), result.examples)
    click.echo(f"{out}: {len(result.examples)} examples; use it with data: {{type: mined, path: {out}}}")
