"""LoRA fine-tuning of a chat model (Hu et al. 2021), and DPO."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.lora.datasets import ChatRows as ChatRows
    from llmkit.training.lora.datasets import GoodSamples as GoodSamples
    from llmkit.training.lora.datasets import InstructionRows as InstructionRows
    from llmkit.training.lora.datasets import PreferenceRows as PreferenceRows
    from llmkit.training.lora.datasets import QuestionRows as QuestionRows
    from llmkit.training.lora.recipe import LoraRecipe as LoraRecipe
    from llmkit.training.lora.recipe import load_recipe as load_recipe
    from llmkit.training.lora.train import Prepared as Prepared
    from llmkit.training.lora.train import Trained as Trained

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "datasets": ["ChatRows", "GoodSamples", "InstructionRows", "PreferenceRows", "QuestionRows"],
        "recipe": ["LoraRecipe", "load_recipe"],
        "train": ["Prepared", "Trained"],
    },
)
