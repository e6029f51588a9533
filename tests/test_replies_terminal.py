"""What the terminal shows of a reply: reasoning where it is asked for, and waits while an evaluation runs."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from llmkit.cli import cli
from llmkit.testing import ReplyServer

pytestmark = pytest.mark.network

PIPELINE = (
    "name: plain\nmodel: {{model: 'openai:{model}', retries: 3}}\nsteps:\n  - {{type: generate, prompt: generate@v1}}\n"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ReplyServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        yield tmp_path


@pytest.mark.parametrize("shown", [True, False])
def test_reasoning_is_shown_only_where_it_is_asked_for(folder, shown):
    (folder / "plain.yaml").write_text(PIPELINE.format(model="reasoning-content"))
    words = ["ask", "What does the pump cost?", "--pipeline", "plain.yaml", *(["--reasoning"] if shown else [])]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.stderr
    assert "140 euros" in done.stdout
    assert "SECRET" not in done.stdout
    assert ("SECRET thought about 999 euros." in done.stderr) == shown


def test_an_evaluation_says_what_it_waits_for(folder):
    (folder / "plain.yaml").write_text(PIPELINE.format(model="busy-in-milliseconds"))
    (folder / "q.jsonl").write_text(json.dumps({"id": "one", "question": "What does it cost?", "answers": ["140"]}))
    (folder / "task.yaml").write_text(
        "name: costs\nknowledge: none\ndataset: {type: rows, path: q.jsonl}\nmetrics: [answer]\n"
    )
    done = CliRunner().invoke(cli, ["eval", "plain.yaml", "--task", "task.yaml", "--no-cache"])
    assert done.exit_code == 0, done.stderr
    assert "one: " in done.stderr
    assert "trying again" in done.stderr
