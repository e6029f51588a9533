"""Training: retrievers, rerankers and adapters, from your own examples, kept only where they help."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.adapters.export import export as _export_adapter
    from llmkit.training.adapters.merge import merge as _merge_adapter
    from llmkit.training.lora.recipe import LoraRecipe as LoraRecipe
    from llmkit.training.lora.recipe import load_recipe as _load_lora_recipe
    from llmkit.training.lora.train import prepare as _prepare_lora
    from llmkit.training.lora.train import train as _train_lora
    from llmkit.training.reranker.recipe import RerankerRecipe as RerankerRecipe
    from llmkit.training.reranker.recipe import load_recipe as _load_reranker_recipe
    from llmkit.training.reranker.train import train as _train_reranker
    from llmkit.training.retriever.recipe import RetrieverRecipe as RetrieverRecipe
    from llmkit.training.retriever.recipe import load_recipe as _load_retriever_recipe
    from llmkit.training.retriever.train import train as _train_retriever

    export_adapter = _export_adapter
    load_lora_recipe = _load_lora_recipe
    load_reranker_recipe = _load_reranker_recipe
    load_retriever_recipe = _load_retriever_recipe
    merge_adapter = _merge_adapter
    prepare_lora = _prepare_lora
    train_lora = _train_lora
    train_reranker = _train_reranker
    train_retriever = _train_retriever

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "adapters.export": ["export as export_adapter"],
        "adapters.merge": ["merge as merge_adapter"],
        "lora.recipe": ["LoraRecipe", "load_recipe as load_lora_recipe"],
        "lora.train": ["prepare as prepare_lora", "train as train_lora"],
        "reranker.recipe": ["RerankerRecipe", "load_recipe as load_reranker_recipe"],
        "reranker.train": ["train as train_reranker"],
        "retriever.recipe": ["RetrieverRecipe", "load_recipe as load_retriever_recipe"],
        "retriever.train": ["train as train_retriever"],
    },
)
