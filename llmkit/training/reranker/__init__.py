"""Training of a cross-encoder reranker."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.reranker.recipe import RerankerRecipe as RerankerRecipe
    from llmkit.training.reranker.recipe import load_recipe as load_recipe
    from llmkit.training.reranker.train import Trained as Trained

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "recipe": ["RerankerRecipe", "load_recipe"],
        "train": ["Trained"],
    },
)
