"""Conformance suites and tiny models, shipped for those who write parts."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.testing.encoder_suite import EncoderSuite as EncoderSuite
    from llmkit.testing.metric_suite import MetricSuite as MetricSuite
    from llmkit.testing.reply_server import ReplyServer as ReplyServer
    from llmkit.testing.reply_suite import Asked as Asked
    from llmkit.testing.reply_suite import ReplySuite as ReplySuite
    from llmkit.testing.retriever_suite import RetrieverSuite as RetrieverSuite
    from llmkit.testing.tool_suite import ToolSuite as ToolSuite
    from llmkit.testing.vector_index_suite import VectorIndexSuite as VectorIndexSuite
    from llmkit.testing.verifier_suite import VerifierSuite as VerifierSuite

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "encoder_suite": ["EncoderSuite"],
        "metric_suite": ["MetricSuite"],
        "reply_server": ["ReplyServer"],
        "reply_suite": ["Asked", "ReplySuite"],
        "retriever_suite": ["RetrieverSuite"],
        "tool_suite": ["ToolSuite"],
        "vector_index_suite": ["VectorIndexSuite"],
        "verifier_suite": ["VerifierSuite"],
    },
)
