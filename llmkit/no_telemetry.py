"""OpenVINO without its telemetry: its Python package reports to Intel that it was imported, and asks nobody."""

from __future__ import annotations

import sys


def silence_openvino() -> None:
    """Call before OpenVINO is imported: it takes its own stub where the package that reports cannot be imported."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
