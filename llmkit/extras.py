"""Optional packages. Each is imported where it is used; if it is missing, the error names the extra to install."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from llmkit.errors import MissingExtra

OPTIONAL = {
    "openvino": ("local", "OpenVINO"),
    "openvino_genai": ("local", "a chat model on OpenVINO"),
    "xllamacpp": ("local", "a chat model on llama.cpp"),
    "gguf": ("local", "a GGUF file"),
    "docx": ("office", "reading Word files"),
    "pptx": ("office", "reading PowerPoint files"),
    "openpyxl": ("office", "reading Excel files"),
    "striprtf": ("office", "reading RTF files"),
    "jsonschema": ("structured", "checking values against a JSON schema"),
    "re2": ("structured", "patterns in a JSON schema"),
    "langchain": ("agents", "agents"),
    "langgraph": ("agents", "agents"),
    "duckdb": ("agents", "the tool `table`"),
    "pint": ("agents", "the tool `convert`"),
    "scipy": ("eval", "statistics"),
    "snowballstemmer": ("eval", "the concepts task"),
    "datasketch": ("dedup", "near-duplicate detection"),
    "fastapi": ("serve", "the server"),
    "prometheus_client": ("serve", "the server"),
    "python_multipart": ("serve", "the server"),
    "uvicorn": ("serve", "the server"),
    "opentelemetry": ("otel", "OpenTelemetry"),
    "langchain_mcp_adapters": ("mcp", "MCP servers as tools"),
    "torch": ("train", "training"),
    "transformers": ("train", "models on transformers"),
    "sentence_transformers": ("train", "models on sentence-transformers"),
    "peft": ("train", "adapters on transformers"),
}
"""For each optional package, by its import name: the extra that installs it, and what needs it."""


@contextmanager
def optional() -> Iterator[None]:
    """Turn a failed import of an optional package inside the block into an error that names the pip line.

    Raises:
        MissingExtra: a package of :data:`OPTIONAL` is not installed. An ImportError from *inside* an installed
            package is not hidden.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in OPTIONAL:
            raise
        extra, feature = OPTIONAL[package]
        raise MissingExtra(feature, error.name or package, extra) from error


def need(module: str, *, feature: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: import name of the package or of a module in it.
        feature: the feature that needs the package, for the message.
        extra: the extra that installs the package.

    Raises:
        MissingExtra: the package is not installed; the message has the pip line. An ImportError from *inside* an
            installed package is not hidden.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] == error.name.split(".")[0]:
            raise MissingExtra(feature, error.name, extra) from error
        raise
