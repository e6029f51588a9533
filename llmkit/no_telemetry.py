"""OpenVINO without telemetry: its Python package tells Intel, without asking, that it was imported."""

from __future__ import annotations

import sys


def silence_openvino() -> None:
    """Prevent the report; call it before OpenVINO is imported.

    OpenVINO uses a stub of its own when its telemetry package cannot be imported, and this makes that import fail.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
