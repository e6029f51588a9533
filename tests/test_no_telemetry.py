"""OpenVINO's package reports to its maker when it is imported; under llmkit it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LOOK = (
    "import sys; print([name for name in sys.modules if name.startswith('openvino_telemetry') and sys.modules[name]])"
)
WAYS = {
    "encoder": "from llmkit.no_telemetry import silence_openvino; silence_openvino(); import openvino",
    "chat model": (
        "from llmkit.models.local.openvino import OpenVINOEngine\n"
        "try: OpenVINOEngine(__import__('pathlib').Path('none.gguf'), context=8, threads=1)\n"
        "except Exception as error: print(type(error).__name__)"
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_written_below_home_and_the_reporter_is_not_loaded(way, tmp_path):
    pytest.importorskip("openvino", reason="not on this machine")
    variables = {**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", f"{WAYS[way]}\n{LOOK}"], env=variables, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert not (tmp_path / "intel").exists()


@pytest.mark.slow
def test_the_default_encoder_reports_nothing(tmp_path, weights_home):
    code = f"from llmkit.encoders.local import LocalEncoder; LocalEncoder().encode_queries(['a'])\n{LOOK}"
    variables = {**os.environ, "HOME": str(tmp_path), "LLMKIT_HOME": str(weights_home), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert not (tmp_path / "intel").exists()
