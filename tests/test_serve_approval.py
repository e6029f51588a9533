"""Approval of an agent's calls over HTTP: waiting turns, decisions, restarts, and isolation between keys."""

from __future__ import annotations

import json

import pytest
from serving import events, knowledge, running

from llmkit.serve.auth.api_keys import KeyStore

pytestmark = pytest.mark.network
WRITE = {"content": "", "tool_calls": [
    {"name": "write_file", "args": {"path": "a.txt", "text": "hello"}, "id": "1", "type": "tool_call"}
]}  # fmt: skip
TASK = "Write hello into a.txt."


def pipelines(folder, memory=None):
    step = {"type": "agent", "tools": [{"type": "write_file", "root": str(folder / "out")}], "approve": ["write_file"]}
    kept = {"memory": str(folder / memory)} if memory else {}
    return {
        "do": {"model": "scripted:x", "steps": [{**step, **kept}]},
        "free": {"model": "scripted:x", "steps": ["generate"]},
    }


def turn(served, question=TASK, name="talk", head=None, **more):
    asked = {"question": question, "attended": True, **more}
    with served.http.stream("POST", f"/api/sessions/{name}/turns", json=asked, headers=head) as reply:
        assert reply.status_code == 200, reply.read()
        return list(events(reply))


def decide(served, wait, *decisions, name="talk", head=None):
    given = {"wait": wait, "decisions": list(decisions)}
    with served.http.stream("POST", f"/api/sessions/{name}/decisions", json=given, headers=head) as reply:
        if reply.status_code != 200:
            return reply.status_code, json.loads(reply.read())["error"]["message"]
        return list(events(reply))[-1]


def session(served, name="talk", **head):
    return served.http.get(f"/api/sessions/{name}", headers=head or None).json()


def test_a_call_waits_and_is_made_when_it_is_approved(tmp_path):
    with running(tmp_path, [WRITE, "It is written."], pipelines(tmp_path)) as served:
        kind, told = turn(served)[-1]
        assert kind == "waiting"
        assert told["calls"] == [
            {
                "tool": "write_file",
                "arguments": {"path": "a.txt", "text": "hello"},
                "why": "every call of write_file needs approval",
            }
        ]
        assert not (tmp_path / "out" / "a.txt").exists()
        assert session(served) == {"name": "talk", "turns": [], "waiting": told}
        (row,) = served.http.get("/api/sessions").json()["sessions"]
        assert (row["title"], row["waiting"], row["turns"]) == (TASK, True, 0)
        kind, done = decide(served, told["wait"], {"kind": "approve"})
        assert (kind, done["text"], done["turn"]) == ("done", "It is written.", 1)
        assert (tmp_path / "out" / "a.txt").read_text() == "hello"
        assert session(served)["waiting"] is None
        assert session(served)["turns"][0]["trace"] == done["trace"]
        record = served.http.get(f"/api/traces/{done['trace']}").json()["records"][0]
        assert record["detail"]["tool_calls"] == 1
        assert decide(served, told["wait"], {"kind": "approve"})[0] == 404  # once
        told = served.http.get("/metrics").text
        assert 'llmkit_runs_total{end="waiting",pipeline="do"} 1.0' in told
        assert 'llmkit_runs_total{end="answered",pipeline="do"} 1.0' in told


def test_the_model_learns_of_a_rejection_and_an_edit_changes_the_call(tmp_path):
    with running(tmp_path, [WRITE, WRITE, "Well then."], pipelines(tmp_path)) as served:
        wait = turn(served)[-1][1]["wait"]
        kind, again = decide(served, wait, {"kind": "reject", "reason": "not that name"})
        assert kind == "waiting"  # the model asks once more
        assert again["wait"] != wait
        assert "not that name" in str(served.model.calls[-1])
        edit = {"kind": "edit", "arguments": {"path": "b.txt", "text": "bye"}}
        assert decide(served, again["wait"], edit)[1]["text"] == "Well then."
        assert [one.name for one in (tmp_path / "out").iterdir()] == ["b.txt"]


def test_calls_are_not_made_without_an_attended_client(tmp_path):
    outputs = [WRITE, "I could not.", WRITE, "Nor now."]
    with running(tmp_path, outputs, pipelines(tmp_path)) as served:
        body = {"model": "do", "messages": [{"role": "user", "content": TASK}]}
        told = served.http.post("/v1/chat/completions", json=body).json()
        assert told["choices"][0]["message"]["content"] == "I could not."
        assert any("nobody is there" in note for note in told["llmkit"]["notes"])
        assert turn(served, attended=False)[-1][1]["text"] == "Nor now."
        assert not (tmp_path / "out" / "a.txt").exists()


def test_another_question_an_undo_and_a_deletion_give_up_waiting_calls(tmp_path):
    outputs = [WRITE, WRITE, "Never mind.", WRITE]
    with running(tmp_path, outputs, pipelines(tmp_path)) as served:
        first = turn(served)[-1][1]["wait"]
        told = turn(served, "Write it again.")
        assert ("note", "the calls that waited for your decision were given up") in [
            (k, d.get("text")) for k, d in told
        ]
        second = told[-1][1]["wait"]
        assert decide(served, first, {"kind": "approve"})[0] == 404
        assert turn(served, "Hello?", pipeline="free")[-1][1]["text"] == "Never mind."
        assert decide(served, second, {"kind": "approve"})[0] == 404
        third = turn(served)[-1][1]["wait"]
        served.http.delete("/api/sessions/talk").raise_for_status()
        assert decide(served, third, {"kind": "approve"})[0] == 404
        assert not (tmp_path / "out" / "a.txt").exists()


@pytest.mark.parametrize("memory", ["memory.sqlite", None])
def test_calls_wait_over_a_restart_where_the_agent_has_a_memory(tmp_path, memory, monkeypatch):
    with running(tmp_path, [WRITE], pipelines(tmp_path, memory)) as served:
        told = turn(served)[-1][1]
    monkeypatch.setattr("llmkit.serve.storage.pending_approvals._PROCESS", "another")
    with running(tmp_path, ["It is written."], pipelines(tmp_path, memory)) as served:
        found = session(served)["waiting"]
        kind, done = decide(served, told["wait"], {"kind": "approve"})
        if memory is None:
            assert (found, kind) == (None, 404)
            assert "the server was restarted and their agent has no memory on disk" in done
            return
        assert found == told
        assert (kind, done["text"]) == ("done", "It is written.")
        assert (tmp_path / "out" / "a.txt").read_text() == "hello"
        trace = served.http.get(f"/api/traces/{done['trace']}").json()
        assert trace["records"][0]["detail"]["model_calls"] == 2  # what was spent before the restart counts


def test_another_key_neither_sees_nor_decides(tmp_path):
    ring = KeyStore(tmp_path / "serve")
    a, b = ({"Authorization": f"Bearer {ring.add(name, ['ask'])[1]}"} for name in "ab")
    with running(tmp_path, [WRITE, "It is written."], pipelines(tmp_path), keys=True) as served:
        told = turn(served, head=a)[-1][1]
        assert served.http.get("/api/sessions/talk", headers=b).status_code == 404
        assert served.http.get("/api/sessions", headers=b).json() == {"sessions": []}
        status, words = decide(served, told["wait"], {"kind": "approve"}, head=b)
        assert status == 404
        assert "hello" not in words
        assert decide(served, told["wait"], {"kind": "approve"}, head=a)[0] == "done"


def test_invalid_decisions_change_nothing(tmp_path):
    with running(tmp_path, [WRITE, "It is written."], pipelines(tmp_path)) as served:
        wait = turn(served)[-1][1]["wait"]
        for wrong in (
            [], [{"kind": "maybe"}], [{"kind": "edit"}], [{"kind": "approve", "arguments": {}}],
            [{"kind": "approve"}, {"kind": "approve"}], [{"kind": "approve", "more": 1}],
        ):  # fmt: skip
            assert decide(served, wait, *wrong)[0] == 422, wrong
        assert decide(served, "wt-" + "0" * 24, {"kind": "approve"})[0] == 404
        assert decide(served, wait, {"kind": "approve"}, name="other")[0] == 404
        assert decide(served, wait, {"kind": "approve"})[0] == "done"


def test_a_waiting_turn_is_deleted_when_its_document_is_forgotten(tmp_path):
    knowledge(tmp_path / "kb", {"mill": "The mill is serviced in August. In September its stones are dressed."})
    steps = pipelines(tmp_path)["do"]["steps"]
    steps[0]["tools"].append({"type": "search"})
    search = {"content": "", "tool_calls": [
        {"name": "search", "args": {"query": "mill serviced"}, "id": "0", "type": "tool_call"}
    ]}  # fmt: skip
    with running(tmp_path, [search, WRITE], {"do": {"model": "scripted:x", "steps": steps}}) as served:
        assert turn(served)[-1][0] == "waiting"
        told = served.http.post("/api/knowledge/forget", json={"documents": ["mill"]}).json()
        assert told["turns"] == 1
        assert session(served)["waiting"] is None
        assert b"August" not in b"".join(path.read_bytes() for path in (tmp_path / "serve" / "waits").iterdir())
