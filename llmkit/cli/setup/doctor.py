"""The command `llmkit doctor`."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json
from llmkit.extras import OPTIONAL

_RUNTIMES = {
    "openvino": "encoder, fastest",
    "onnxruntime": "encoder, fallback",
    "xllamacpp": "chat models, llama.cpp",
    "openvino-genai": "chat models, OpenVINO",
    "faiss-cpu": "vector search",
    "tantivy": "BM25",
    "langchain": "chat models and agents",
    "openai": "OpenAI-compatible servers",
}


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show what this machine has, which runtime llmkit uses and why, and the command that installs what is missing."""
    sections = {
        "machine": _machine(),
        "runtimes": _runtimes(),
        "self-checks": _self_checks(),
        "models": _models(),
        "extras": _extras(),
    }
    if as_json:
        print_json({name: dict(rows) for name, rows in sections.items()})
        return
    for name, rows in sections.items():
        click.echo(name)
        for key, value in rows:
            click.echo(f"  {key:<22} {value}")


def _machine() -> list[tuple[str, str]]:
    from llmkit import cpu
    from llmkit.version import __version__

    features = ", ".join(sorted(cpu.features() & cpu.RELEVANT)) or "instruction sets not known on this system"
    return [
        ("llmkit", __version__),
        ("python", f"{platform.python_version()} at {sys.executable}"),
        ("cpu", f"{platform.machine()}, {cpu.threads()} threads, {features}"),
        ("encoder runs on", _encoder_runtime()),
        ("untrusted code", _sandbox()),
        (
            "local chat runs on",
            "llama.cpp: starts fastest and has grammars; choose `runtime: openvino` for long prompts",
        ),
    ]


def _encoder_runtime() -> str:
    """The runtime and precision of the default encoder on this machine."""
    import warnings

    from llmkit.encoders.local import LocalEncoder
    from llmkit.encoders.runtime import capabilities
    from llmkit.errors import ModelError

    encoder = LocalEncoder()
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # the notes say the same
        try:
            choice, notes = encoder.choice, encoder.notes
        except ModelError as error:
            if _pulled(encoder.model):
                return str(error)
            choice, notes = capabilities.choose(), (f"not checked: llmkit models pull {encoder.model}",)
    return "; ".join([f"{choice.runtime} in {choice.precision}: {choice.why}", *notes])


def _self_checks() -> list[tuple[str, str]]:
    """For each runtime and precision of the default encoder: whether it gives the reference vectors."""
    from llmkit.encoders.local import LocalEncoder
    from llmkit.encoders.runtime.selection import checked_candidates

    name = LocalEncoder().model
    if not _pulled(name):
        return [(name, f"not checked: llmkit models pull {name}")]
    rows = []
    for choice, outcome in checked_candidates(LocalEncoder().checked_graph):
        words = outcome if isinstance(outcome, str) else f"{outcome.measured}; took {outcome.milliseconds:.0f} ms"
        passed = not isinstance(outcome, str) and outcome.passed
        rows.append((f"{choice.runtime} {choice.precision}", f"{'correct' if passed else 'not used'}: {words}"))
    return rows


def _pulled(name: str) -> bool:
    from llmkit import weights

    return any(model.name == name and model.present for model in weights.listing())


def _sandbox() -> str:
    from llmkit.errors import SandboxError
    from llmkit.sandbox.isolation import isolation

    try:
        how = "under a user id of its own" if isolation() == "root" else "in a user namespace"
    except SandboxError as error:
        return str(error)
    return f"runs in bubblewrap, {how}"


def _runtimes() -> list[tuple[str, str]]:
    return [(name, f"{_version(name)} ({purpose})") for name, purpose in _RUNTIMES.items()]


def _models() -> list[tuple[str, str]]:
    from llmkit import weights

    return [
        (model.name, str(model.path) if model.present else f"missing: llmkit models pull {model.name}")
        for model in weights.listing()
    ]


def _extras() -> list[tuple[str, str]]:
    """For each extra, whether its packages are installed."""
    packages: dict[str, list[str]] = {}
    for name, (extra, _) in OPTIONAL.items():
        packages.setdefault(extra, []).append(name)
    rows = []
    for extra, names in packages.items():
        missing = [name for name in names if find_spec(name) is None]
        what = f"missing {', '.join(missing)}: pip install 'llmkit[{extra}]'" if missing else f"has {', '.join(names)}"
        rows.append((extra, what))
    return rows


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"missing: pip install {package}"
