"""Which runtimes and precisions this machine offers for an encoder graph, best first."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Literal

from llmkit import cpu
from llmkit.errors import ModelError, UnsupportedPrecision

RuntimeName = Literal["openvino", "onnxruntime"]
Precision = Literal["f32", "bf16"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and a precision, with the reason in words."""

    runtime: RuntimeName
    precision: Precision
    why: str

    @property
    def version(self) -> str:
        """Version of the runtime's package."""
        return version(self.runtime)


def candidates(runtime: str = "auto", precision: str = "auto") -> list[Choice]:
    """The runtimes and precisions that fit the request, best first.

    OpenVINO stands before ONNX Runtime. bf16 stands before f32 where the processor multiplies it, and is otherwise
    offered on request only. Whether a candidate computes correctly is for :mod:`.selection` to find out.

    Args:
        runtime: ``auto``, ``openvino`` or ``onnxruntime``.
        precision: ``auto``, ``f32`` or ``bf16``.

    Raises:
        UnsupportedPrecision: bf16 without OpenVINO: ONNX Runtime has no bf16 on CPUs.
        ModelError: the runtime is not installed.
    """
    names: tuple[RuntimeName, ...] = ("openvino", "onnxruntime")
    installed = [name for name in names if runtime in ("auto", name) and find_spec(name) is not None]
    if not installed:
        package = "onnxruntime" if runtime == "auto" else runtime
        raise ModelError(f"the runtime {package} is not installed: pip install {package}")
    if precision == "bf16" and "openvino" not in installed:
        remedy = "set precision to f32 or auto, or " + (
            "install OpenVINO (pip install openvino)" if runtime == "auto" else "set runtime to openvino"
        )
        raise UnsupportedPrecision(f"ONNX Runtime does not compute in bf16 on a CPU: {remedy}")
    found = []
    if "openvino" in installed and (precision == "bf16" or (precision == "auto" and cpu.has_bfloat16())):
        has = ", ".join(sorted(cpu.features() & {"avx512_bf16", "amx_bf16"}))
        found.append(Choice("openvino", "bf16", f"this CPU has {has}" if has else "as configured"))
    if precision != "bf16":
        reason = "bf16 failed its check" if found else "this CPU has no bf16 arithmetic"
        why = "as configured" if precision == "f32" else reason
        missing = runtime == "auto" and "openvino" not in installed
        plain = "OpenVINO is not installed; ONNX Runtime has no bf16 on CPUs" if missing else "as configured"
        found += [Choice(name, "f32", why if name == "openvino" else plain) for name in installed]
    return found


def choose(runtime: str = "auto", precision: str = "auto") -> Choice:
    """The first of :func:`candidates`."""
    return candidates(runtime, precision)[0]


def every_candidate() -> list[Choice]:
    """Every runtime that is installed in every precision that it offers, whether or not the CPU is made for it."""
    offered = []
    if find_spec("openvino") is not None:
        offered += [Choice("openvino", "bf16", ""), Choice("openvino", "f32", "")]
    if find_spec("onnxruntime") is not None:
        offered.append(Choice("onnxruntime", "f32", ""))
    return offered
