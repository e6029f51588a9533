"""What this machine can run an encoder on, and which of it is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Literal

RuntimeName = Literal["openvino", "onnxruntime"]
Precision = Literal["f32", "bf16"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A runtime and a precision, with the reason in words."""

    runtime: RuntimeName
    precision: Precision
    why: str


@cache
def cpu_features() -> frozenset[str]:
    """Instruction sets that matter here, as Linux names them; empty where they cannot be read."""
    wanted = frozenset({"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16"})
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            line = next((line for line in file if line.startswith(("flags", "Features"))), "")
    except OSError:
        return frozenset()
    return wanted & frozenset(line.partition(":")[2].split())


def choose(runtime: str = "auto", precision: str = "auto") -> Choice:
    """OpenVINO where it is installed, in bf16 where the CPU multiplies it; ONNX Runtime otherwise.

    bf16 is taken only with ``avx512_bf16`` or ``amx_bf16``: elsewhere it is emulated and slower.
    """
    fast = cpu_features() & {"avx512_bf16", "amx_bf16"}
    if runtime == "onnxruntime" or (runtime == "auto" and find_spec("openvino") is None):
        why = "as configured" if runtime != "auto" else "OpenVINO is not installed"
        return Choice("onnxruntime", "f32", f"{why}; ONNX Runtime has no bf16 on CPUs")
    if precision == "f32" or (precision == "auto" and not fast):
        return Choice("openvino", "f32", "as configured" if precision == "f32" else "this CPU has no bf16 arithmetic")
    return Choice("openvino", "bf16", f"this CPU has {', '.join(sorted(fast))}" if fast else "as configured")
