"""Text to vectors."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.encoders.dual import DualEncoder as DualEncoder
    from llmkit.encoders.hashing import HashingEncoder as HashingEncoder
    from llmkit.encoders.load import load_encoder as load_encoder
    from llmkit.encoders.local import LocalEncoder as LocalEncoder
    from llmkit.encoders.openai import OpenAIEncoder as OpenAIEncoder
    from llmkit.encoders.sentence_transformer import SentenceTransformerEncoder as SentenceTransformerEncoder

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dual": ["DualEncoder"],
        "load": ["load_encoder"],
        "hashing": ["HashingEncoder"],
        "local": ["LocalEncoder"],
        "openai": ["OpenAIEncoder"],
        "sentence_transformer": ["SentenceTransformerEncoder"],
    },
)
