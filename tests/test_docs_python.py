"""The blocks of docs/python.md, run in order in one Python, without weights and without a network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
SECTIONS = {
    (re.findall(r"^## (.*)$", PAGE[: match.start()], re.MULTILINE) or ["First lines"])[-1]: match[1]
    for match in re.finditer(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
}


def _run(tmp_path, *sections: str) -> str:
    """Run the blocks of sections, as a user's script in a folder of its own; returns what they print."""
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "note.txt").write_text("The filter of the pump is changed in June.")
    code = "\n".join(SECTIONS[name] for name in sections)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "HOME": str(tmp_path), "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_lines_history_search_and_errors(tmp_path):
    said = _run(tmp_path, "First lines", "The knowledge base", "Search", "Errors")
    assert "The warranty excludes damage by water." in said
    assert "forgotten here, too" in said
    assert "did you mean 'hybrid'" in said


def test_models_chat_and_agents(tmp_path):
    said = _run(tmp_path, "First lines", "Answers from a model", "Agents")
    assert "The warranty excludes damage by water [1]. True" in said
    assert "12 * 7 is 84." in said
    assert (tmp_path / "sessions.sqlite").is_file()


def test_evaluation_and_experiments(tmp_path):
    said = _run(tmp_path, "First lines", "Evaluation and experiments")
    assert "1.0 0.63" in said
    assert (tmp_path / "runs" / "docs").is_dir()


def test_serve_and_langchain(tmp_path):
    pytest.importorskip("fastapi", reason="needs the extra serve")
    assert "damage by water" in _run(tmp_path, "First lines", "Serve, and LangChain")


@pytest.mark.slow
def test_training(tmp_path, monkeypatch):
    from tiny import bert

    bert(tmp_path / "tiny")
    rows = [
        {"query": f"where is the {colour} {thing}", "positives": [{"text": f"the {colour} {thing} is in the {place}"}]}
        for colour in ("red", "blue", "green", "grey") for thing in ("pump", "valve", "motor") for place in ("north",)
    ]  # fmt: skip
    (tmp_path / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = (
        '"out=my-retriever", "base=tiny", "epochs=1", "batch=4", "max_tokens=32", "hard_negatives=0", "dev_share=0.3"'
    )
    monkeypatch.setitem(SECTIONS, "Training", SECTIONS["Training"].replace('"out=my-retriever"', small))
    assert "my-retriever" in _run(tmp_path, "Training")


def test_the_reference_is_what_the_docstrings_say():
    script = [sys.executable, str(REPOSITORY / "scripts" / "reference.py"), "--check"]
    done = subprocess.run(
        script, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}
    )
    assert done.returncode == 0, done.stderr


def test_every_block_is_run_by_a_test():
    assert len(SECTIONS) == PAGE.count("```python") == 9
