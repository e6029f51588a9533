"""LoRA adapters on disk: save, merge, export to GGUF, check parity."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.adapters.base_model import Base as Base
    from llmkit.training.adapters.parity import Parity as Parity

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "base_model": ["Base"],
        "parity": ["Parity"],
    },
)
