"""Documents in: loaders, splitters and the ledger of every character."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.text.language import language as _detect_language
    from llmkit.text.loading.load_files import Loaded as Loaded
    from llmkit.text.loading.load_files import load as load
    from llmkit.text.loading.load_files import load_all as load_all
    from llmkit.text.sentences import sentences as _split_sentences
    from llmkit.text.splitter import StructureSplitter as StructureSplitter

    detect_language = _detect_language
    split_sentences = _split_sentences

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "language": ["language as detect_language"],
        "loading.load_files": ["Loaded", "load", "load_all"],
        "sentences": ["sentences as split_sentences"],
        "splitter": ["StructureSplitter"],
    },
)
