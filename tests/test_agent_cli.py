"""Agents at the terminal: asking, deciding, looking at what happened."""

from __future__ import annotations

import json

import click
import pytest
from click.testing import CliRunner

from llmkit.approval import Decision, Request
from llmkit.cli import cli
from llmkit.cli.common.approvals import prompt_decision, run_with_approvals
from llmkit.cli.common.trace_tree import trace_lines
from llmkit.pipeline import load_pipeline
from llmkit.pipeline.chat.session import ChatSession
from llmkit.pipeline.chat.session_store import SessionStore

WRITE = {
    "tool_calls": [
        {"name": "write_file", "args": {"path": "a.txt", "text": "hi\u001b[2J"}, "id": "1", "type": "tool_call"}
    ]
}


@pytest.fixture
def agent(tmp_path):
    """A pipeline whose script writes a file and then says so."""
    (tmp_path / "script.jsonl").write_text("\n".join(map(json.dumps, [WRITE, "Written."])))
    (tmp_path / "agent.yaml").write_text(
        f"name: writer\nmodel: 'scripted:@{tmp_path}/script.jsonl'\nsteps:\n  - type: agent\n"
        f"    tools: [{{type: write_file, root: {tmp_path}/files}}]\n    approve: [write_file]\n"
    )
    return str(tmp_path / "agent.yaml")


def test_ask_without_a_terminal_refuses_and_says_so(agent, tmp_path):
    done = CliRunner().invoke(cli, ["ask", "Write hi.", "--pipeline", agent])
    assert done.exit_code == 0, done.output
    assert "Written." in done.stdout
    assert "refused calls: 1; write_file: This call needs a person's approval" in done.stderr
    assert "  write_file" not in done.stderr
    assert not (tmp_path / "files").exists()


def test_a_decision_at_the_terminal_goes_on(agent, tmp_path, capsys):
    from llmkit.approval import Caller

    pipeline = load_pipeline(agent)
    asked = []

    def decide(request):
        asked.append(request)
        return Decision("approve")

    run_with_approvals(pipeline.stream("Write hi.", caller=Caller(attended=True)), pipeline.stream_decided, decide)
    assert asked[0].tool == "write_file"
    assert (tmp_path / "files" / "a.txt").exists()
    said = capsys.readouterr()
    assert "Written." in said.out
    assert "write_file(path='a.txt'" in said.err


@pytest.mark.parametrize(
    ("typed", "decision"),
    [
        ("y\n", Decision("approve")),
        ("\n", Decision("reject")),
        ("n\n", Decision("reject")),
        ("not there\n", Decision("reject", "not there")),
        ('e\n{bad\n[1]\n{"path": "b"}\n', Decision("edit", arguments={"path": "b"})),
        ("", Decision("reject")),
    ],
)
def test_what_is_typed_is_the_decision(typed, decision):
    found = []

    @click.command()
    def once():
        found.append(prompt_decision(Request("write_file", {"path": "a", "text": "hi\u001b[2J"}, "it writes")))

    done = CliRunner().invoke(once, input=typed)
    assert found == [decision]
    assert "\u001b" not in done.output
    assert "\\u001b[2J" in done.output


def test_a_citation_that_no_step_checked_is_not_called_unsupported(tmp_path):
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.types import Document

    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("pump", "The pump is blue.")])
    head = f"name: x\nmodel: 'scripted:It is red [1].'\nknowledge: {tmp_path}/kb\nsteps:\n  - {{type: retrieve, retriever: bm25}}\n"
    (tmp_path / "x.yaml").write_text(f"{head}  - answer\n")
    (tmp_path / "y.yaml").write_text(f"{head}  - answer\n  - ground\n")
    said = [
        CliRunner().invoke(cli, ["ask", "pump", "--pipeline", str(tmp_path / name)]).stdout
        for name in ("x.yaml", "y.yaml")
    ]
    assert "(not checked)" in said[0]
    assert "not supported" not in said[0]
    assert "(not supported: " in said[1]


def test_votes_are_shown_without_the_word_checked(tmp_path):
    (tmp_path / "v.yaml").write_text(
        "name: v\nmodel: scripted:It is 4.\nsteps: [{type: self-consistency, samples: 2, answer: number}]\n"
    )
    done = CliRunner().invoke(cli, ["ask", "2 + 2?", "--pipeline", str(tmp_path / "v.yaml")])
    assert done.stdout.strip() == "It is 4."


def test_trace_shows_a_turn_as_a_tree(agent, tmp_path):
    with SessionStore(tmp_path / "s.sqlite") as store:
        ChatSession(load_pipeline(agent), store, "talk").ask("Write hi.")
    done = CliRunner().invoke(cli, ["trace", "talk", "--sessions", str(tmp_path / "s.sqlite")])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Write hi."
    assert any(line.startswith("├─ model 1") for line in lines)
    assert any("└─ write_file(path='a.txt'" in line and "refused" in line for line in lines)
    assert lines[-1] == "answer: Written."
    parsed = json.loads(
        CliRunner().invoke(cli, ["trace", "talk", "1", "--sessions", str(tmp_path / "s.sqlite"), "--json"]).stdout
    )
    assert parsed["records"][0]["detail"]["trace"]
    for arguments, why in (
        (["talk", "7"], "has turns 1 to 1"),
        (["tolk"], "did you mean 'talk'"),
        (["talk", "--sessions", "nix"], "no conversations"),
    ):
        if "--sessions" not in arguments:
            arguments = [*arguments, "--sessions", str(tmp_path / "s.sqlite")]
        done = CliRunner().invoke(cli, ["trace", *arguments])
        assert why in str(done.exception)


def test_the_tree_shows_what_was_ignored_and_what_has_no_result():
    call = {"id": "1", "name": "f", "arguments": {"a": "x" * 500}}
    model = {"kind": "model", "n": 1, "seconds": 0.1, "text": "", "input_tokens": 1, "output_tokens": 2}
    record = {
        "step": "steps[0] agent", "seconds": 1.0, "usage": {"calls": 1, "input_tokens": 1, "output_tokens": 2},
        "detail": {"trace": [{**model, "calls": [call]}, {**model, "n": 2, "closing": "stalled", "ignored": [call]}]},
    }  # fmt: skip
    text = "\n".join(trace_lines(record))
    assert "no result" in text
    assert "ignored" in text
    assert "told to answer: stalled" in text
    assert max(map(len, text.splitlines())) < 200


def test_chat_as_a_reader_is_a_conversation_of_its_own(tmp_path):
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.types import Document

    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document("open", "The pump is blue."), Document("closed", "The pump is secret.", access=("board",))])
    (tmp_path / "find.yaml").write_text("name: find\nsteps: [{type: retrieve, retriever: bm25}]\n")
    common = [
        "--kb",
        str(tmp_path / "kb"),
        "--pipeline",
        str(tmp_path / "find.yaml"),
        "--sessions",
        str(tmp_path / "s.sqlite"),
    ]
    owner = CliRunner().invoke(cli, ["chat", "talk", *common], input="pump\n/quit\n")
    assert "secret" in owner.output
    reader = CliRunner().invoke(cli, ["chat", "talk", *common, "--as", "it"], input="pump\n/quit\n")
    assert reader.exit_code == 0, reader.output
    assert "talk@it: 0 turns" in reader.output
    assert "blue" in reader.output
    assert "secret" not in reader.output
