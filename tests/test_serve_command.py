"""Messages of `llmkit serve` at its start, and when it cannot start."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner
from serving import knowledge, running

from llmkit.cli.answering.serve import command
from llmkit.serve.settings import Settings
from llmkit.serve.storage.uploads import mismatched_knowledge_base

pytestmark = pytest.mark.network


def test_a_missing_knowledge_base_is_reported_at_the_start(tmp_path):
    knowledge(tmp_path / "kb")
    for kb, wanted in (
        ("kb", ["Ctrl-C stops the server"]),
        ("nokb", ["there is no knowledge base at nokb yet", "serving at http://"]),
    ):
        run = [sys.executable, "-m", "llmkit", "serve", "--port", "0", "--kb", kb, "--pipeline", "docs-qa"]
        with subprocess.Popen(run, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
            said = [process.stderr.readline() for _ in wanted]
            process.terminate()
            process.communicate(timeout=20)
        assert all(part in line for part, line in zip(wanted, said, strict=True)), said


def test_uploads_of_another_knowledge_base_are_reported_at_the_start(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("kb", "other"):
        knowledge(tmp_path / "a" / name)
    with running(tmp_path / "a", data=tmp_path / "a" / "serve") as served:
        served.upload("note.txt", "The gate is shut at nine.")
        served.until(lambda: [one for one in served.files() if one["status"] == "parsed"])
    (tmp_path / "a").rename(tmp_path / "b")  # moved together they still belong together
    assert mismatched_knowledge_base(Settings(knowledge=tmp_path / "b" / "kb", data=tmp_path / "b" / "serve")) is None
    run = [sys.executable, "-m", "llmkit", "serve", "--port", "0", "--kb", "other", "--data", "serve"]
    with subprocess.Popen(
        [*run, "--pipeline", "docs-qa"], cwd=tmp_path / "b", stderr=subprocess.PIPE, text=True
    ) as process:
        said = process.stderr.readline()
        process.terminate()
        process.communicate(timeout=20)
    assert "the uploads in serve belong to kb: the next upload reads all of them into other as well" in said


def test_a_port_in_use_and_refused_options_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(command, ["--port", port, "--pipeline", "docs-qa"])
    assert f"cannot listen on 127.0.0.1:{port}; if another program uses the port, choose another --port" in str(
        done.exception
    )
    done = CliRunner().invoke(command, ["--host", "0.0.0.0", "--no-keys"])
    assert "leave out --no-keys" in str(done.exception)
