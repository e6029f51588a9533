"""Memory over turns and restarts, and a person between the model and what it wants done. All scripted."""

from __future__ import annotations

import sqlite3
import time

import pytest

from llmkit.agents.memory import open_memory
from llmkit.approval import ApprovalNeeded, Caller, Decision
from llmkit.errors import DataError, ModelError, StepError
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline
from llmkit.pipeline.chat.session import ChatSession
from llmkit.pipeline.chat.session_store import SessionStore
from llmkit.types import Document, Message

HERE = Caller("talk", attended=True)


def using(name, n=1, **arguments):
    return {"content": "", "tool_calls": [{"name": name, "args": arguments, "id": f"c{n}", "type": "tool_call"}]}


def agent(script, folder, **step):
    (folder / "files").mkdir(exist_ok=True)
    (folder / "files" / "note.txt").write_text("The code is 417.")
    tools = [
        "calculator",
        {"type": "read_file", "root": str(folder / "files")},
        {"type": "write_file", "root": str(folder / "files")},
    ]
    model = ScriptedChat(script)
    made = Pipeline.model_validate(
        {"name": "x", "model": "scripted:x", "steps": [{"type": "agent", "tools": tools, **step}]}
    ).with_models(lambda spec: model)
    return made, model


WRITE = using("write_file", 1, path="a.txt", text="hello")


class TestApproval:
    def test_a_listed_tool_waits_and_goes_on_as_decided(self, tmp_path):
        made, _ = agent([WRITE, "Written."], tmp_path, approve=["write_file"])
        with pytest.raises(ApprovalNeeded) as caught:
            made.run("Write hello.", caller=HERE)
        needed = caught.value
        assert (needed.requests[0].tool, dict(needed.requests[0].arguments)) == (
            "write_file",
            {"path": "a.txt", "text": "hello"},
        )
        assert not (tmp_path / "files" / "a.txt").exists()
        state = made.decide(needed, [Decision("approve")])
        assert state.answer.text == "Written."
        assert (tmp_path / "files" / "a.txt").read_text() == "hello"
        kinds = [(one["kind"], one.get("status")) for one in state.records[0].detail["trace"]]
        assert kinds == [("model", None), ("tool", "ok"), ("model", None)]

    def test_rejected_or_changed(self, tmp_path):
        made, model = agent([WRITE, "Well then."], tmp_path, approve=["write_file"])
        with pytest.raises(ApprovalNeeded) as caught:
            made.run("Write hello.", caller=HERE)
        state = made.decide(caught.value, [Decision("reject", "not today")])
        assert not (tmp_path / "files" / "a.txt").exists()
        assert "not today" in model.calls[-1][-1].content
        assert state.records[0].detail["counts"] == {"rejected calls": 1}
        assert "rejected calls: 1; write_file: " in state.records[0].detail["notes"][0]
        assert "not today" in state.records[0].detail["notes"][0]
        made, _ = agent([WRITE, "Done."], tmp_path, approve=["write_file"])
        with pytest.raises(ApprovalNeeded) as caught:
            made.run("Write hello.", caller=HERE)
        made.decide(caught.value, [Decision("edit", arguments={"path": "b.txt", "text": "bye"})])
        assert (tmp_path / "files" / "b.txt").read_text() == "bye"
        assert not (tmp_path / "files" / "a.txt").exists()

    def test_where_nobody_is_there_it_is_not_done(self, tmp_path):
        made, model = agent([WRITE, "I could not."], tmp_path, approve=["write_file"])
        state = made.run("Write hello.")
        assert state.records[0].detail["counts"] == {"refused calls": 1}
        assert "nobody is there" in model.calls[-1][-1].content
        assert not (tmp_path / "files" / "a.txt").exists()

    def test_side_effects_are_free_until_text_by_others_was_read(self, tmp_path):
        made, _ = agent([WRITE, "Written."], tmp_path)
        assert made.run("Write hello.").answer.text == "Written."
        script = [using("read_file", 1, path="note.txt"), using("write_file", 2, path="c.txt", text="417"), "Done."]
        made, _ = agent(script, tmp_path)
        state = made.run("Copy the note.")
        assert [one["status"] for one in state.records[0].detail["trace"] if one["kind"] == "tool"] == ["ok", "refused"]
        made, _ = agent(script, tmp_path)
        with pytest.raises(ApprovalNeeded, match=r"c\.txt") as caught:
            made.run("Copy the note.", caller=HERE)
        assert "text from read_file was read" in caught.value.requests[0].why
        made.decide(caught.value, [Decision("approve")])
        assert (tmp_path / "files" / "c.txt").read_text() == "417"
        made, _ = agent([*script[:2], "Done."], tmp_path, guarded=False)
        (tmp_path / "files" / "c.txt").unlink()
        made.run("Copy the note.")
        assert (tmp_path / "files" / "c.txt").exists()

    def test_an_earlier_answer_may_rest_on_text_by_others(self, tmp_path):
        made, _ = agent([WRITE, "No."], tmp_path)
        state = made.run("Write it.", history=[Message("user", "?"), Message("assistant", "Write a.txt now!")])
        assert state.records[0].detail["counts"] == {"refused calls": 1}

    def test_the_time_before_the_decision_counts_and_the_wait_does_not(self, tmp_path):
        def slowly(messages):
            time.sleep(0.2 if messages[-1].type == "human" else 0)
            return WRITE if messages[-1].type == "human" else "Written."

        made, _ = agent(slowly, tmp_path, approve=["write_file"])
        with pytest.raises(ApprovalNeeded) as caught:
            made.run("Write hello.", caller=HERE)
        asked = caught.value.spent["step_seconds"]
        time.sleep(1.0)
        began = time.perf_counter()
        state = made.decide(caught.value, [Decision("approve")])
        assert 0.2 <= asked < state.records[0].seconds <= asked + time.perf_counter() - began

    def test_decisions_are_for_the_step_that_waited(self, tmp_path):
        made, _ = agent([], tmp_path, approve=["write_file"])
        twice = made.replace(steps=(*made.steps, made.steps[0].replace(approve=())))
        model = ScriptedChat([WRITE, "Written.", using("calculator", 2, expression="1 + 1"), "2"])
        twice = twice.with_models(lambda spec: model)
        with pytest.raises(ApprovalNeeded) as caught:
            twice.run("Write hello.", caller=HERE)
        state = twice.decide(caught.value, [Decision("approve")])
        assert state.answer.text == "2"
        assert state.records[1].usage.calls == 2

    def test_another_word_is_no_decision(self):
        with pytest.raises(DataError, match="unknown decision 'approved'; did you mean 'approve'"):
            Decision("approved")

    def test_decisions_must_fit_what_waits(self, tmp_path):
        made, _ = agent([WRITE, "Written."], tmp_path, approve=["write_file"])
        with pytest.raises(ApprovalNeeded) as caught:
            made.run("Write hello.", caller=HERE)
        with pytest.raises(StepError, match="1 calls wait for a decision, but 2 decisions"):
            made.decide(caught.value, [Decision("approve")] * 2)
        made.decide(caught.value, [Decision("approve")])
        with pytest.raises(StepError, match="0 calls wait"):
            made.decide(caught.value, [Decision("approve")])

    def test_it_waits_over_a_restart(self, tmp_path):
        memory = str(tmp_path / "memory.sqlite")
        made, _ = agent([WRITE], tmp_path, approve=["write_file"], memory=memory)
        with pytest.raises(ApprovalNeeded):
            made.run("Write hello.", caller=HERE)
        made, _ = agent(["Written."], tmp_path, approve=["write_file"], memory=memory)
        with pytest.raises(ApprovalNeeded) as caught:
            made.run("Write hello.", caller=HERE)
        assert made.decide(caught.value, [Decision("approve")]).answer.text == "Written."

    def test_events_wait_too(self, tmp_path):
        made, _ = agent([WRITE, "Written."], tmp_path, approve=["write_file"])
        with pytest.raises(ApprovalNeeded) as caught:
            list(made.stream("Write hello.", caller=HERE))
        events = list(made.stream_decided(caught.value, [Decision("approve")]))
        assert events[-1].data["state"].answer.text == "Written."


class TestMemory:
    def test_calls_and_results_outlive_the_process(self, tmp_path):
        memory = str(tmp_path / "memory.sqlite")
        made, _ = agent([using("read_file", 1, path="note.txt"), "I have read it."], tmp_path, memory=memory)
        made.run("Read the note.", caller=Caller("talk"))
        made, model = agent(["417."], tmp_path, memory=memory)
        history = [Message("user", "Read the note."), Message("assistant", "I have read it.")]
        made.run("What is the code?", history=history, caller=Caller("talk"))
        assert [one.type for one in model.calls[0]] == ["system", "human", "ai", "tool", "ai", "human"]
        assert "417" in model.calls[0][3].content

    def test_the_turns_of_the_session_are_the_truth(self, tmp_path):
        made, model = agent(["One.", "Two."], tmp_path, memory=str(tmp_path / "memory.sqlite"))
        made.run("First?", caller=Caller("talk"))
        state = made.run(
            "Second?", history=[Message("user", "Another?"), Message("assistant", "A.")], caller=Caller("talk")
        )
        assert [one.content for one in model.calls[1][1:]] == ["Another?", "A.", "Second?"]
        assert any("memory is rebuilt" in note for note in state.records[0].detail["notes"])

    def test_without_a_thread_nothing_is_kept(self, tmp_path):
        made, _ = agent(["One.", ModelError("planned")], tmp_path, memory=str(tmp_path / "memory.sqlite"))
        made.run("First?")
        with pytest.raises(StepError, match="planned"):
            made.run("Second?")
        with sqlite3.connect(tmp_path / "memory.sqlite") as db:
            assert db.execute("SELECT count(*) FROM checkpoints").fetchone() == (0,)

    def test_a_turn_that_failed_leaves_nothing_behind(self, tmp_path):
        script = ["One.", ModelError("planned"), "Three."]
        made, model = agent(script, tmp_path, memory=str(tmp_path / "memory.sqlite"))
        with SessionStore(tmp_path / "sessions.sqlite") as store:
            session = ChatSession(made, store, "talk")
            session.ask("First?")
            with pytest.raises(StepError):
                session.ask("Second?")
            session.ask("Third?")
        assert [one.content for one in model.calls[-1][1:]] == ["First?", "One.", "Third?"]

    def test_another_conversation_of_the_same_name_knows_nothing(self, tmp_path):
        made, model = agent(["One.", "Two."], tmp_path, memory=str(tmp_path / "memory.sqlite"))
        with SessionStore(tmp_path / "sessions.sqlite") as store:
            ChatSession(made, store, "talk").ask("First?")
            store.delete("talk")
            ChatSession(made, store, "talk").ask("Second?")
        assert [one.content for one in model.calls[-1][1:]] == ["Second?"]

    def test_passages_are_numbered_from_one_again_where_the_memory_is_begun_anew(self, tmp_path):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.knowledge_base import KnowledgeBase

        with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
            kb.add([Document("a", "The pump is blue."), Document("b", "The valve is red.")])
            search = {"type": "search", "k": 1, "retriever": "bm25"}
            made = Pipeline.model_validate(
                {"name": "x", "model": "scripted:x", "steps": [{"type": "agent", "tools": [search]}]}
            )
            script = [using("search", 1, query="pump"), "Blue [1].", using("search", 2, query="valve"), "Red [2].",
                      using("search", 3, query="valve"), "Red [1]."]  # fmt: skip
            model = ScriptedChat(script)
            made = made.with_models(lambda spec: model).with_knowledge(kb)
            made.run("Pump?", caller=Caller("talk"))
            went_on = made.run(
                "Valve?", history=[Message("user", "Pump?"), Message("assistant", "Blue [1].")], caller=Caller("talk")
            )
            assert [hit.chunk.document for hit in went_on.hits] == ["a", "b"]
            assert went_on.answer.citations[0].document == "b"
            anew = made.run(
                "Valve?", history=[Message("user", "Other?"), Message("assistant", "x")], caller=Caller("talk")
            )
            assert [hit.chunk.document for hit in anew.hits] == ["b"]
            assert anew.answer.citations[0].document == "b"

    def test_a_long_conversation_is_not_begun_anew_each_turn(self, tmp_path):
        made, model = agent(lambda messages: "Well.", tmp_path, memory=str(tmp_path / "memory.sqlite"))
        with SessionStore(tmp_path / "sessions.sqlite") as store:
            session = ChatSession(made, store, "talk", words=8)
            for n in range(6):
                session.ask(f"Question {n} of many words?")
            assert len(model.calls[-1]) == 12  # the system text, five turns, the question: all of it is remembered
            session.pipeline.steps[0].forget(session.thread)
            session.ask("Question 6?")
            session.ask("Question 7?")
        assert [one.content for one in model.calls[-1][-3:]] == ["Question 6?", "Well.", "Question 7?"]
        assert not any(
            "memory is rebuilt" in note
            for turn in session.turns[1:6]
            for note in turn.records[0]["detail"].get("notes", ())
        )

    def test_what_one_reader_read_is_not_anothers_memory(self, tmp_path):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.knowledge_base import KnowledgeBase

        with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
            kb.add([Document("a", "The pump is blue."), Document("b", "The pump is secret.", access=("board",))])
            search = {"type": "search", "k": 2, "retriever": "bm25"}
            made = Pipeline.model_validate(
                {"name": "x", "model": "scripted:x", "steps": [{"type": "agent", "tools": [search]}]}
            )
            model = ScriptedChat([using("search", 1, query="pump"), "Yes.", "No."])
            made = made.with_models(lambda spec: model)
            made.with_knowledge(kb).run("Pump?", caller=Caller("talk"))
            history = [Message("user", "Pump?"), Message("assistant", "Yes.")]
            other = made.with_knowledge(kb).as_reader("it")
            other.run("Again?", history=history, caller=Caller("talk"))
            assert "secret" not in str(model.calls[-1])

    def test_two_processes_on_one_conversation_do_not_mix(self, tmp_path):
        memory = str(tmp_path / "memory.sqlite")
        with SessionStore(tmp_path / "sessions.sqlite") as store:
            first, _ = agent(["A1.", "A2."], tmp_path, memory=memory)
            second, model = agent(["B1.", "B2."], tmp_path, memory=memory)
            mine, theirs = ChatSession(first, store, "talk"), ChatSession(second, store, "talk")
            mine.ask("Mine?")
            with pytest.raises(DataError, match="another process continued"):
                theirs.ask("Theirs?")
            again = ChatSession(second, store, "talk")
            again.ask("And now?")
        assert [one.content for one in model.calls[-1][1:]] == ["Mine?", "A1.", "And now?"]

    def test_a_chat_session_remembers_and_takes_back(self, tmp_path):
        script = [using("read_file", 1, path="note.txt"), "Read.", "417.", "Again."]
        made, model = agent(script, tmp_path, memory=str(tmp_path / "memory.sqlite"))
        with SessionStore(tmp_path / "sessions.sqlite") as store:
            session = ChatSession(made, store, "talk")
            session.ask("Read the note.")
            session.ask("What is the code?")
            assert [one.type for one in model.calls[-1]] == ["system", "human", "ai", "tool", "ai", "human"]
            session.undo()
            session.ask("What is it?")
            assert [one.type for one in model.calls[-1]] == ["system", "human", "ai", "human"]

    def test_a_chat_session_waits_and_keeps_the_turn_once_decided(self, tmp_path):
        made, _ = agent([WRITE, "Written."], tmp_path, approve=["write_file"])
        with SessionStore(tmp_path / "sessions.sqlite") as store:
            session = ChatSession(made, store, "talk")
            with pytest.raises(ApprovalNeeded) as caught:
                session.ask("Write hello.", attended=True)
            assert session.turns == []
            assert session.decide(caught.value, [Decision("approve")]).answer.text == "Written."
            assert [turn.question for turn in store.turns("talk")] == ["Write hello."]

    @pytest.mark.parametrize("change", ["PRAGMA user_version = 7", "PRAGMA user_version = 0"])
    def test_a_memory_of_another_version_is_refused(self, tmp_path, change):
        path = tmp_path / "memory.sqlite"
        open_memory(path).conn.close()
        with sqlite3.connect(path) as db:
            db.execute(change)
        with pytest.raises(DataError, match=r"another version .* move it away"):
            open_memory(path)

    def test_what_is_no_memory_is_refused(self, tmp_path):
        (tmp_path / "memory.sqlite").write_text("not a database, but long enough to be read as one" * 30)
        with pytest.raises(DataError, match="cannot be kept"):
            open_memory(tmp_path / "memory.sqlite")

    def test_other_classes_are_not_read_back(self, tmp_path):
        serde = open_memory(tmp_path / "memory.sqlite").serde
        kind, raw = serde.dumps_typed(Decision("approve"))
        assert not isinstance(serde.loads_typed((kind, raw)), Decision)
        with pytest.raises((NotImplementedError, ValueError)):
            serde.loads_typed(("pickle", b"cos\nsystem\n(S'true'\ntR."))

    def test_a_forgotten_document_is_forgotten_here_too(self, tmp_path):
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.knowledge_base import KnowledgeBase
        from llmkit.pipeline.agent.erase import erase_memory

        texts = {"secret": "The vault opens with nine silver words tonight.", "other": "The pump is blue."}
        memory = tmp_path / "memory.sqlite"
        with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
            kb.add(Document(name, text) for name, text in texts.items())
            for thread, query in (("a", "vault silver words"), ("b", "pump blue")):
                search = {"type": "search", "k": 1, "retriever": "bm25"}
                made = Pipeline.model_validate(
                    {
                        "name": "x",
                        "model": "scripted:x",
                        "steps": [{"type": "agent", "tools": [search], "memory": str(memory)}],
                    }
                )
                model = ScriptedChat([using("search", 1, query=query), "Yes."])
                made.with_models(lambda spec, model=model: model).with_knowledge(kb).run("?", caller=Caller(thread))
            assert erase_memory(memory, kb.quotes(["secret"])) == 1
        saver = open_memory(memory)
        assert [row[0] for row in saver.conn.execute("SELECT DISTINCT thread_id FROM checkpoints")] == ["b"]
        assert b"silver words" not in memory.read_bytes()
