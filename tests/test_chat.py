"""Conversations: follow-ups, memory that outlives the process, and the mistakes people make."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys

import pytest

from llmkit.cli.answering.chat import _read, talk
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError, DataError, ModelError, StepError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline.chat.session import ChatSession
from llmkit.pipeline.chat.session_store import SessionStore
from llmkit.pipeline.pipeline import Pipeline, load_pipeline
from llmkit.types import Document, Message

TEXTS = {
    "pump": "The pump is serviced in May. In June the filter of the pump is changed.",
    "mill": "The mill is serviced in August. In September its stones are dressed.",
}


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add(Document(name, text) for name, text in TEXTS.items())
        yield kb


@pytest.fixture
def store(tmp_path):
    with SessionStore(tmp_path / "s" / "sessions.sqlite") as store:
        yield store


def pipeline(kb, script=None, *steps):
    values = {"name": "p", "steps": list(steps) or ["condense", "retrieve", {"type": "extract", "threshold": 0}]}
    if script is not None:
        values["model"] = "scripted:x"
    made = Pipeline.model_validate(values).with_knowledge(kb)
    model = ScriptedChat(script or ())
    return made.with_models(lambda _: model), model


def test_a_follow_up_is_searched_for_with_the_question_before_it(kb, store):
    made, _ = pipeline(kb)
    session = ChatSession(made, store, "s")
    session.ask("When is the mill serviced?")
    state = session.ask("And what in September?")
    assert state.question == "When is the mill serviced? And what in September?"
    assert state.answer.citations[0].document == "mill"
    assert [turn.question for turn in session.turns] == ["When is the mill serviced?", "And what in September?"]
    (condensed,) = [record for record in state.records if record.step.endswith("condense")]
    assert condensed.detail["asked"] == "And what in September?"


@pytest.mark.parametrize(
    ("said", "searched"),
    [
        ("What is done with the mill in September?", "What is done with the mill in September?"),
        ('"What of the mill?"\n', "What of the mill?"),
        ("", "And then?"),
        ("The mill\nis a thing", "And then?"),
        ("word " * 100, "And then?"),
    ],
)
def test_a_model_rewrites_a_follow_up_or_it_stays(kb, store, said, searched):
    step = {"type": "condense", "by": "model"}
    made, model = pipeline(kb, [said], step, "retrieve", {"type": "extract", "threshold": 0})
    session = ChatSession(made, store, "s")
    session.ask("When is the mill serviced?")
    assert not model.calls
    events = list(session.stream("And then?"))
    assert events[-1].data["state"].question == searched
    assert not [event for event in events if event.kind == "token" and event.text in said.split()]
    why = "did not rewrite" if said else "the model answered with no text"
    assert any(why in event.text for event in events) == (searched == "And then?")
    shown = model.calls[0][-1].text
    assert "User: When is the mill serviced?" in shown
    assert "Last question: And then?" in shown


def test_a_session_goes_on_in_another_process(kb, store, tmp_path):
    made, _ = pipeline(kb)
    ChatSession(made, store, "s").ask("When is the mill serviced?")
    with SessionStore(store.path) as other:
        again = ChatSession(made, other, "s")
        assert again.turns == ChatSession(made, store, "s").turns
        assert again.turns[0].answer.citations[0].document == "mill"
        assert again.history([])[0] == Message("user", "When is the mill serviced?")


def test_two_processes_on_one_session_are_told(kb, store):
    made, _ = pipeline(kb)
    one, two = ChatSession(made, store, "s"), ChatSession(made, store, "s")
    one.ask("When is the mill serviced?")
    with pytest.raises(DataError, match="another process continued the session 's': it has turn 1"):
        two.ask("When is the pump serviced?")
    assert len(store.turns("s")) == 1


def test_undo_takes_back_the_last_turn_for_good(kb, store):
    made, _ = pipeline(kb)
    session = ChatSession(made, store, "s")
    assert session.undo() is None
    session.ask("When is the mill serviced?")
    session.ask("And what in September?")
    assert session.undo().question == "And what in September?"
    assert len(store.turns("s")) == len(session.turns) == 1
    session.ask("When is the pump serviced?")
    assert [turn.n for turn in session.turns] == [1, 2]


def test_a_failed_or_stopped_answer_keeps_no_turn(kb, store):
    made, _ = pipeline(kb, [ModelError("the server is down")], "retrieve", "answer")
    session = ChatSession(made, store, "s")
    with pytest.raises(StepError, match="the server is down"):
        session.ask("When is the mill serviced?")
    made, _ = pipeline(kb, ["It is [1]. " * 50], "retrieve", "answer")
    session = ChatSession(made, store, "s")
    stream = session.stream("When is the mill serviced?")
    while next(stream).kind != "token":
        pass
    stream.close()
    assert session.turns == store.turns("s") == []


def test_a_long_history_is_summed_up_and_nothing_is_dropped_unseen(kb, store):
    made, model = pipeline(kb, ["They spoke of mills.", "They spoke of mills and pumps."])
    session = ChatSession(made, store, "s", words=50)
    told = []
    for _ in range(4):
        session.ask("When is the mill serviced, in which month of which year, and by whom?", on_event=told.append)
    notes = [event.text for event in told if event.kind == "note" and "shown" in event.text]
    assert notes == ["turns 1 to 1 are shown as a summary of 4 words"]
    notes = []
    history = session.history(notes)
    assert notes == ["turns 2 to 2 are shown as a summary of 6 words"]
    assert history[0] == Message("system", "Earlier in this conversation: They spoke of mills and pumps.")
    assert [message.role for message in history[1:]] == ["user", "assistant"] * 2
    assert "System: Earlier: They spoke of mills." in model.calls[1][-1].text
    assert len(store.turns("s")) == 4
    session.undo()
    session.undo()
    session.undo()
    assert store.summary("s") == (1, "They spoke of mills.")


def test_without_a_model_what_is_not_shown_is_told(kb, store):
    made, _ = pipeline(kb)
    session = ChatSession(made, store, "s", words=20)
    events = []
    for _ in range(3):
        session.ask("When is the mill serviced, in which month?", on_event=events.append)
    told = [event.text for event in events if event.kind == "note" and "history" in event.text]
    assert told
    assert "were not shown: no model can summarise them" in told[-1]


def test_a_writer_killed_at_any_time_leaves_whole_turns(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom llmkit.pipeline.chat.session_store import SessionStore\n"
        "from llmkit.types import State, Answer\n"
        "store = SessionStore(Path(sys.argv[1]))\nstore.begin('s', 'p')\nn = len(store.turns('s'))\n"
        "while True:\n    n += 1\n    store.add('s', n, 'q' * 5000, State('q', answer=Answer(f'a{n}' * 900)))\n"
        "    print(n, flush=True)\n"
    )
    path, told = tmp_path / "s.sqlite", 0
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(7):
            child.stdout.readline()
        os.kill(child.pid, signal.SIGKILL)
        out, _ = child.communicate()
        told = max([told, *(int(line) for line in out.split("\n")[:-1])])
        with SessionStore(path) as store:
            turns = store.turns("s")
            assert [turn.n for turn in turns] == list(range(1, len(turns) + 1))
            assert len(turns) >= told
            assert all(turn.answer.text == f"a{turn.n}" * 900 for turn in turns)


def test_files_that_are_no_sessions_are_refused(tmp_path):
    (tmp_path / "text").write_text("this is not a database, it is a text that is long enough to be read as one" * 50)
    with pytest.raises(DataError, match="cannot be stored"):
        SessionStore(tmp_path / "text")
    old = tmp_path / "old.sqlite"
    sqlite3.connect(old).execute("PRAGMA user_version = 9")
    with pytest.raises(DataError, match="has format 9, this llmkit reads format 1"):
        SessionStore(old)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be stored"):
        SessionStore(tmp_path / "file" / "s.sqlite")


def test_what_is_forgotten_is_in_no_conversation(kb, store):
    made, _ = pipeline(kb)
    session = ChatSession(made, store, "s")
    for question in ("When is the mill serviced?", "When is the pump serviced?", "And the mill?"):
        session.ask(question)
    store.summarise("s", 1, "The mill is serviced in August.")
    store.summarise("other", 1, "They spoke of this and that.")
    assert store.erase(kb.quotes(["mill"])) == 3  # the third was shown passages of both
    assert store.turns("s") == []
    assert store.summary("s") == (0, "")
    assert store.summary("other")[1]
    files = b"".join(path.read_bytes() for path in store.path.parent.iterdir())
    assert b"August" not in files
    assert b"stones" not in files


@pytest.mark.parametrize("name", ["", "a/b", "../x", "x" * 200, "a\nb"])
def test_names_are_names(kb, store, name):
    with pytest.raises(ConfigError, match="is no name for a session"):
        ChatSession(pipeline(kb)[0], store, name)


def test_the_talk(kb, store, capsys, tmp_path):
    session = ChatSession(pipeline(kb)[0], store, "s")
    saved = tmp_path / "talk.md"
    before = ["/sources", "/why", "/undo", "/save", "When is the mill serviced?", "", "   ", "/sources", "/why"]
    after = [f"/save {saved}", f"/save {saved}", "/sessions", "/nothing", "/help", "/undo", "/quit", "never asked"]
    lines = iter([*before, *after])
    talk(session, lambda: next(lines, None))
    out = capsys.readouterr().out
    assert out.count("no question was asked yet") == 2
    assert "there is no turn to remove" in out
    assert "The mill is serviced in August. [1]" in out
    assert "[1] mill, characters 0-" in out
    assert "steps[1] retrieve" in out
    assert "unknown command /nothing" in out
    assert "exists: name another file" in out
    assert "removed: When is the mill serviced?" in out
    assert next(lines) == "never asked"
    text = saved.read_text()
    assert text.startswith("# s\n\n**When is the mill serviced?**")
    assert "> [1] mill, characters 0-31: The mill is serviced in August." in text


def test_an_error_does_not_end_the_talk(kb, store, capsys):
    made, _ = pipeline(kb, [ModelError("the server is down"), "In August [1]."], "retrieve", "answer")
    lines = iter(["When is the mill serviced?", "When is the mill serviced?"])
    talk(ChatSession(made, store, "s"), lambda: next(lines, None))
    out = capsys.readouterr()
    assert "the server is down" in out.err
    assert "In August [1]." in out.out
    assert len(store.turns("s")) == 1


def test_what_others_wrote_does_not_steer_the_terminal(kb, store, capsys):
    made, _ = pipeline(kb, ["In August\x1b]52;c;ZXZpbA==\x07\x9b2J [1].\nReally."], "retrieve", "answer")
    session = ChatSession(made, store, "s")
    lines = iter(["When is the mill serviced?", "/why", "/sources"])
    talk(session, lambda: next(lines, None))
    out = capsys.readouterr()
    assert "In August\ufffd]52" in out.out
    assert not set(out.out + out.err) & {chr(n) for n in range(0xA0) if n < 0x20 or n >= 0x7F} - {"\n"}
    assert "\x1b" in session.turns[0].answer.text  # kept as it came


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["one\\", "two"], "one\ntwo"),
        (['"""', "one", "", "two", '"""'], "one\n\ntwo"),
        (['"""one', 'two"""'], "one\ntwo"),
        (['"""one"""'], "one"),
        (['"""', '"""'], ""),
    ],
)
def test_a_question_of_several_lines(monkeypatch, typed, read):
    lines = iter(typed)
    monkeypatch.setattr("builtins.input", lambda prompt: next(lines))
    assert _read() == read
    assert next(lines, None) is None


@pytest.mark.parametrize("name", ["chat", "chat-local"])
def test_shipped_pipelines_condense_first(name):
    assert load_pipeline(name).steps[0].type == "condense"


@pytest.mark.slow
def test_from_the_command_line(tmp_path, weights_home):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mill.md").write_text(TEXTS["mill"])
    run = [sys.executable, "-m", "llmkit"]
    subprocess.run([*run, "ingest", "notes", "--into", "kb"], cwd=tmp_path, check=True, capture_output=True)
    for _ in range(2):
        done = subprocess.run(
            [*run, "chat", "mine", "--kb", "kb"],
            cwd=tmp_path, input='When is the mill\\\nserviced?\n"""\nAnd in\nSeptember?\n"""\n/sources\n',
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        assert "The mill is serviced in August." in done.stdout
    assert "mine: 2 turns" in done.stderr
