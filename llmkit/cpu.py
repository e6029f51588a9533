"""The processor: how many threads the numerical runtimes get, and which instruction sets it has."""

from __future__ import annotations

import hashlib
import os
import platform
from functools import cache

FEATURES_VARIABLE = "LLMKIT_CPU_FEATURES"
"""Environment variable that replaces the detected instruction sets, separated by commas or spaces."""
RELEVANT = frozenset({"avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16"})
"""Instruction sets that decide how fast a model runs, as Linux names them."""
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16"})
_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
"""Variables that limit the instruction sets of oneDNN, on which OpenVINO and torch stand."""
_WITH_BFLOAT16 = ("AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX10", "AVX512_CORE_AMX")
_IDENTIFYING = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU architecture", "CPU part")


def threads() -> int:
    """``OMP_NUM_THREADS``, or the number of CPUs that this process may use."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def features() -> frozenset[str]:
    """Instruction sets as Linux names them; empty where the system does not list them.

    A limit in ``ONEDNN_MAX_CPU_ISA`` below bfloat16 takes ``avx512_bf16`` and ``amx_bf16`` away, because the runtimes
    then do not use them. ``LLMKIT_CPU_FEATURES`` replaces the detected sets; it changes what llmkit chooses, not what
    the runtimes execute.
    """
    override = os.environ.get(FEATURES_VARIABLE)
    if override is not None:
        return frozenset(override.replace(",", " ").split())
    description = _description()
    found = frozenset((description.get("flags") or description.get("Features") or "").split())
    limit = next((value.upper() for name in _LIMITS if (value := os.environ.get(name))), "DEFAULT")
    unlimited = limit in ("DEFAULT", "ALL") or limit.startswith(_WITH_BFLOAT16)
    return found if unlimited else found - _BFLOAT16


def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 matrices: ``avx512_bf16`` or ``amx_bf16``."""
    return bool(features() & _BFLOAT16)


def fingerprint() -> str:
    """16 hex digits that stand for the kind of processor and the limits that the environment puts on it.

    Two machines have the same fingerprint if vendor, model and instruction sets are equal. ``ONEDNN_MAX_CPU_ISA`` and
    its kind are part of it, because the runtimes execute other code under them.
    """
    description = _description()
    parts = [platform.system(), platform.machine(), platform.processor()]
    parts += [description.get(name, "") for name in _IDENTIFYING]
    parts += sorted(features())
    parts += [f"{name}={os.environ.get(name, '')}" for name in _LIMITS]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@cache
def _description() -> dict[str, str]:
    """The first processor's entry in /proc/cpuinfo; empty on other systems."""
    entry: dict[str, str] = {}
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:  # noqa: PTH123
            for line in file:
                name, separator, value = line.partition(":")
                if not separator and entry:
                    break  # an empty line ends the first processor
                entry[name.strip()] = value.strip()
    except OSError:
        return {}
    return entry
