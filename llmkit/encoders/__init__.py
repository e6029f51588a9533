"""Text to vectors."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.encoders.dual import DualEncoder as DualEncoder
    from llmkit.encoders.from_spec import encoder_from_spec as encoder_from_spec
    from llmkit.encoders.hashing import HashingEncoder as HashingEncoder
    from llmkit.encoders.local import LocalEncoder as LocalEncoder
    from llmkit.encoders.openai import OpenAIEncoder as OpenAIEncoder
    from llmkit.encoders.sentence_transformer import SentenceTransformerEncoder as SentenceTransformerEncoder

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dual": ["DualEncoder"],
        "from_spec": ["encoder_from_spec"],
        "hashing": ["HashingEncoder"],
        "local": ["LocalEncoder"],
        "openai": ["OpenAIEncoder"],
        "sentence_transformer": ["SentenceTransformerEncoder"],
    },
)
