"""Training data: formats, mixtures, hard negatives."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.training.data.examples import Example as Example
    from llmkit.training.data.examples import Passage as Passage
    from llmkit.training.data.formats import BEIR as BEIR
    from llmkit.training.data.formats import QA as QA
    from llmkit.training.data.formats import DPRPairs as DPRPairs
    from llmkit.training.data.formats import Pairs as Pairs
    from llmkit.training.data.formats import SQuAD as SQuAD
    from llmkit.training.data.hard_negatives import mine as mine
    from llmkit.training.data.mined_format import Mined as Mined
    from llmkit.training.data.mixtures import HeldOut as HeldOut
    from llmkit.training.data.mixtures import Mixture as Mixture

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "examples": ["Example", "Passage"],
        "formats": ["BEIR", "DPRPairs", "Pairs", "QA", "SQuAD"],
        "hard_negatives": ["mine"],
        "mined_format": ["Mined"],
        "mixtures": ["HeldOut", "Mixture"],
    },
)
