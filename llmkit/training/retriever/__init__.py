"""Training of a dense retriever (DPR, Karpukhin et al. 2020)."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.retriever.recipe import RetrieverRecipe as RetrieverRecipe
    from llmkit.training.retriever.recipe import load_recipe as load_recipe
    from llmkit.training.retriever.train import Trained as Trained

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "recipe": ["RetrieverRecipe", "load_recipe"],
        "train": ["Trained"],
    },
)
