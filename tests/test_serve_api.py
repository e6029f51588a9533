"""llmkit's own HTTP interface: files, conversations, feedback, traces and metrics."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading

import httpx
import pytest
from conftest import REPOSITORY
from serving import PIPELINES, QUESTION, events, knowledge, running

from llmkit import config
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.tasks.datasets import Rows
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.evaluation.tasks.task import Task
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline import Pipeline
from llmkit.serve.auth.api_keys import KeyStore
from llmkit.serve.auth.principal import LOCAL_PRINCIPAL
from llmkit.serve.errors import HttpError
from llmkit.serve.storage.filenames import safe_relative_path
from llmkit.types import Document

pytestmark = pytest.mark.network


def turn(served, session, question=QUESTION, **more):
    with served.http.stream("POST", f"/api/sessions/{session}/turns", json={"question": question, **more}) as reply:
        return reply.status_code, list(events(reply)) if reply.status_code == 200 else reply.read()


def ready(served, count=1):
    return served.until(lambda: (f := served.files()) and sum(one["status"] == "parsed" for one in f) >= count and f)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("note.txt", "note.txt"), ("../../etc/passwd", "passwd"), ("C:\\Users\\me\\plan.docx", "plan.docx"),
        ("a\x00b\n.md", "a_b_.md"), (".env", "env"), ("CON.txt", "_CON.txt"), ("Ünïcode 山.txt", "Ünïcode 山.txt"),
        ("x" * 400 + ".pdf", "x" * 146 + ".pdf"), ("山" * 200 + ".md", "山" * 49 + ".md"), ("a/b/", None), ("..", None),
        ("", None), (None, None), ("\x00", None), ("noend", "noend"),
    ],
)  # fmt: skip
def test_unsafe_file_names_become_safe_paths(name, kept):
    if kept is None:
        with pytest.raises(HttpError, match="a file needs a name"):
            safe_relative_path(name)
    else:
        assert "/".join(parts := safe_relative_path(name)) == kept
        assert all(len(part.encode()) <= 150 for part in parts)


def test_files_are_uploaded_answered_from_replaced_and_deleted(tmp_path):
    with running(tmp_path) as served:
        assert served.files() == []
        reply = served.upload("../pump.md", "# Pump\n\nThe pump is serviced in May.")
        assert reply.status_code == 202
        assert [one["name"] for one in reply.json()["files"]] == ["uploads/pump.md"]
        (file,) = ready(served)
        assert (file["file"], file["documents"], file["mine"]) == ("pump.md", ["uploads/pump.md"], True)
        assert (tmp_path / "serve" / "files" / "uploads" / "pump.md").is_file()
        served.upload("broken.pdf", b"%PDF-1.7 this is none")
        served.upload("empty.txt", "")
        served.until(lambda: all(one["status"] not in ("waiting", "reading") for one in served.files()))
        states = {one["file"]: (one["status"], bool(one["reason"])) for one in served.files()}
        assert states["broken.pdf"] == ("failed", True)
        assert states["empty.txt"][0] in ("empty", "skipped")
        assert "May" in str(turn(served, "s", "When is the pump serviced?"))
        served.upload("pump.md", "# Pump\n\nThe pump is serviced in October.")
        found = served.until(
            lambda: "October" in (text := str(turn(served, "s2", "When is the pump serviced?"))) and text
        )
        assert "serviced in May" not in found
        gone = served.http.delete("/api/knowledge/files", params={"name": "uploads/pump.md"})
        assert gone.json() == {"deleted": 1}
        assert "October" not in str(turn(served, "s3", "When is the pump serviced?"))
        assert not (tmp_path / "serve" / "files" / "uploads" / "pump.md").exists()
        assert served.http.delete("/api/knowledge/files", params={"name": "uploads/pump.md"}).status_code == 404


def test_document_offsets_count_code_points(tmp_path):
    with running(tmp_path) as served:
        served.upload("山.txt", "🌾🌾 Before it. The mill is serviced in August. After it 🌾.")
        ready(served)
        _, told = turn(served, "s")
        (citation,) = told[-1][1]["citations"]
        params = {"id": citation["document"], "start": citation["start"], "end": citation["end"]}
        found = served.http.get("/api/knowledge/document", params=params).json()
        assert found["passage"] == "The mill is serviced in August." == citation["quote"]
        assert found["before"] == "🌾🌾 Before it. "
        assert found["after"] == " After it 🌾."
        assert (
            served.http.get("/api/knowledge/document", params={**params, "start": 10**9, "end": 5}).status_code == 200
        )


def test_search_takes_filters_and_refuses_bad_ones(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        found = served.http.post("/api/knowledge/search", json={"query": "mill August", "k": 1}).json()
        assert found["passages"][0]["document"] == "mill"
        bad = served.http.post("/api/knowledge/search", json={"query": "x", "where": 'type = "'})
        assert bad.status_code == 400


def test_a_conversation_is_continued_undone_and_deleted(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        status, told = turn(served, "my talk")
        assert status == 200
        kinds = [kind for kind, _ in told]
        assert (kinds[0], kinds[-1]) == ("begun", "done")
        assert kinds.count("step") == 3
        turn(served, "my talk", "And in September?")
        kept = served.http.get("/api/sessions/my talk").json()["turns"]
        assert [one["question"] for one in kept] == [QUESTION, "And in September?"]
        trace = served.http.get(f"/api/traces/{kept[1]['trace']}").json()
        assert (trace["session"], trace["turn"], trace["asked"]) == ("my talk", 2, "And in September?")
        (row,) = served.http.get("/api/sessions").json()["sessions"]
        assert (row["title"], row["turns"]) == (QUESTION, 2)
        assert served.http.get("/api/sessions/my talk/markdown").text.startswith("# my talk")
        assert served.http.delete("/api/sessions/my talk/turns/last").json() == {"undone": 2}
        assert served.http.get(f"/api/traces/{kept[1]['trace']}").status_code == 404
        assert served.http.get(f"/api/traces/{kept[0]['trace']}").status_code == 200
        assert served.http.delete("/api/sessions/my talk").json() == {"deleted": True}
        assert served.http.get(f"/api/traces/{kept[0]['trace']}").status_code == 404
        for bad in ("..%2Fx", "%00", "x" * 101, "a%0Ab"):
            assert served.http.get(f"/api/sessions/{bad}").status_code in (404, 422)
        assert turn(served, "s", " ")[0] == 400
        assert turn(served, "s", "x", pipeline="nope")[0] == 404


def test_feedback_is_a_data_set_that_a_task_reads(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        traces = [turn(served, f"s{n}")[1][-1][1]["trace"] for n in range(4)]
        turn(served, "s0", "And the pump?")
        rate = [
            {"rating": "up"}, {"rating": "down"}, {"rating": "down", "correction": "Never."}, {"rating": "up"},
        ]  # fmt: skip
        for name, given in zip(traces, rate, strict=True):
            assert served.http.post("/api/feedback", json={"trace": name, **given}).status_code == 200
        served.http.post("/api/feedback", json={"trace": traces[3], "rating": "none"})
        assert len(served.http.get("/api/feedback").text.splitlines()) == 3
        path = tmp_path / "serve" / "ratings" / "local.jsonl"
        samples = list(Rows(path=str(path), relevant="relevant", history="history").samples())
    assert samples[0].answers == ("The mill is serviced in August.",)
    assert samples[0].relevant == {"mill": 1.0}
    assert isinstance(samples[1], BadRow)  # a thumb down alone does not say that there is no answer
    assert (samples[2].answers, samples[2].relevant) == (("Never.",), {})


def test_the_task_of_the_documentation_scores_an_approved_answer_as_right(tmp_path, monkeypatch):
    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        name = turn(served, "s")[1][-1][1]["trace"]
        served.http.post("/api/feedback", json={"trace": name, "rating": "up"})
    page = (REPOSITORY / "docs" / "serve.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(name: thumbs\n.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / ".llmkit").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)
    pipeline = Pipeline.model_validate({"name": "quote", "knowledge": "kb", **PIPELINES["quote"]})
    folder = evaluate(plan(pipeline, config.parse(text).build(Task), tmp_path / "runs"))
    (scored,) = folder.scores()
    assert scored["scores"]["em"] == 1


def test_a_body_that_cannot_be_read_says_what_it_needs(tmp_path):
    with running(tmp_path) as served:
        for content, kind, wanted in (
            ('{"question": "x"}', "text/plain", "send the header Content-Type: application/json"),
            ('{"question":', "application/json", "the body is not JSON: Expecting value, at character 12"),
            ("[]", "application/json", "body: Input should be a valid dictionary"),
            ('{"quest": "x"}', "application/json", "question: Field required; quest: Extra inputs"),
        ):
            reply = served.http.post("/api/sessions/s/turns", content=content, headers={"Content-Type": kind})
            assert reply.status_code == 422
            assert wanted in reply.json()["error"]["message"]
        for method, path, status in (("POST", "/v1/chat/completion", 404), ("PUT", "/v1/models", 405)):
            reply = served.http.request(method, path)
            assert reply.status_code == status
            assert "/openapi.json lists the paths and methods of this server" in reply.json()["error"]["message"]


def test_forgotten_documents_are_in_no_file_of_the_server(tmp_path):
    with running(tmp_path) as served:
        served.upload("cave.txt", "The dragon sleeps in cave QX7041 under the hill.")
        served.upload("mill.txt", "The mill is serviced in August.")
        ready(served, 2)
        kept = turn(served, "s", "Where does the dragon sleep?")[1][-1][1]
        assert "QX7041" in kept["text"]
        served.http.post("/api/feedback", json={"trace": kept["trace"], "rating": "up"})
        done = served.http.post("/api/knowledge/forget", json={"documents": ["uploads/cave.txt"]}).json()
        assert (done["turns"], done["traces"], done["ratings"]) == (1, 1, 1)
        assert "QX7041" not in str(turn(served, "s", "Where does the dragon sleep?"))
        assert served.http.post("/api/knowledge/forget", json={"documents": ["never"]}).status_code == 404
        short = turn(served, "s2", "When is the mill serviced?")[1][-1][1]  # and a thumb down names no right document
        served.http.post("/api/feedback", json={"trace": short["trace"], "rating": "down"})
        row = json.loads(served.http.get("/api/feedback").text)
        assert row["cited"] == ["uploads/mill.txt"]
        served.service.stores.for_caller(LOCAL_PRINCIPAL).feedback._write(
            [{**row, "question": "When?", "answer": "August. [1]"}]
        )
        done = served.http.post("/api/knowledge/forget", json={"documents": ["uploads/mill.txt"]}).json()
        assert done["ratings"] == 1
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"QX7041" not in path.read_bytes(), path


def test_a_running_answer_keeps_its_generation_during_an_upload(tmp_path):
    knowledge(tmp_path / "kb")
    entered, go = threading.Event(), threading.Event()

    def script(messages):
        entered.set()
        assert go.wait(20)
        return "It is August [1]."

    with running(tmp_path, script) as served:
        found = []
        thread = threading.Thread(target=lambda: found.append(turn(served, "s", pipeline="write")))
        thread.start()
        assert entered.wait(20)
        with KnowledgeBase.open(tmp_path / "kb") as kb:  # another process, as it were
            kb.add([Document("mill", "The mill is gone.")])
        served.upload("new.txt", "A new file.")
        ready(served, 2)
        go.set()
        thread.join(20)
        ((_, told),) = found
        citation = told[-1][1]["citations"][0]
        assert citation["quote"].startswith("The mill is serviced in August.")
        assert "gone" in str(turn(served, "s2"))


def test_an_upload_waits_for_another_writer(tmp_path):
    from llmkit.knowledge.local.lock import writer_lock

    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        with writer_lock(tmp_path / "kb"):
            served.upload("new.txt", "A new file.")
            served.until(lambda: [one for one in served.files() if one["status"] == "waiting"])
            busy = served.http.delete("/api/knowledge/files", params={"name": "api"})
            assert busy.status_code == 409
        ready(served, 2)


def test_only_the_latest_traces_are_kept(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path, max_traces=5) as served:
        store = served.service.stores.for_caller(LOCAL_PRINCIPAL).traces
        names = [turn(served, f"s{n}")[1][-1][1]["trace"] for n in range(3)]
        state = served.service.registry.pipelines["quote"]
        assert state.name == "quote"
        from llmkit.types import State

        for n in range(130):
            store.add(f"tr-{n}", "quote", State("q"), question="q")
        assert store.get(names[0]) is None
        assert store.get("tr-129") is not None


def test_metrics_and_readiness(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path) as served:
        turn(served, "s", pipeline="write")
        told = served.http.get("/metrics").text
        assert 'llmkit_tokens_total{direction="output",pipeline="write"} 7.0' in told
        assert 'llmkit_first_token_seconds_count{pipeline="write"} 1.0' in told
        assert 'llmkit_requests_total{method="POST",route="/api/sessions/{name}/turns",status="200"} 1.0' in told
        assert served.http.get("/readyz").json() == {"status": "ready", "documents": True}
        (tmp_path / "kb" / "catalog.sqlite").write_bytes(b"not a catalogue" * 100)
        served.service.knowledge.close()
        assert served.http.get("/readyz").status_code == 503


def test_a_pipeline_of_the_users_own_is_served(tmp_path):
    knowledge(tmp_path / "kb")
    with running(tmp_path, pipelines={"mine": PIPELINES["quote"]}) as served:
        me = served.http.get("/api/me").json()
        assert [one["name"] for one in me["pipelines"]] == ["mine"]
        assert json.loads(served.http.get("/openapi.json").text)["openapi"].startswith("3.")


def test_files_that_share_a_name_are_all_kept(tmp_path):
    def texts(served):
        return {file["file"]: served.http.get("/api/knowledge/document", params={"id": file["documents"][0]}).json()
                for file in ready(served, 5)}  # fmt: skip

    with running(tmp_path) as served:
        alpha, beta = ("The Alpha contract ends in May.", "The Beta contract ends in June 2044.")
        names = [("d1/readme.md", alpha), ("d2/readme.md", beta), ("d1/readme.md", "The Gamma contract has no end."),
                 ("a?b.txt", "A question mark stood here."), ("a:b.txt", "A colon stood here.")]  # fmt: skip
        reply = served.http.post("/api/knowledge/files", files=[("files", each) for each in names])
        rows = reply.json()["files"]
        assert [row["file"] for row in rows] == [
            "d1/readme.md", "d2/readme.md", "d1/readme (2).md", "a_b.txt", "a_b (2).txt",
        ]  # fmt: skip
        assert not any(row["replaced"] for row in rows)
        read = texts(served)
        for row, (_, text) in zip(rows, names, strict=True):
            found = read[row["file"]]
            assert text in found["before"] + found["passage"] + found["after"]
        (again,) = served.upload("a:b.txt", "Another text.").json()["files"]
        assert (again["file"], again["replaced"]) == ("a_b (2).txt", True)
        clash = served.upload("a?b.txt/c.txt", "x")
        assert clash.status_code == 409
        assert "cannot be a folder as well" in clash.json()["error"]["message"]
        both = [("files", ("new.md", "New.")), ("files", ("x", "A file.")), ("files", ("x/y.md", "In a folder."))]
        assert served.http.post("/api/knowledge/files", files=both).status_code == 409
        assert not (tmp_path / "serve" / "files" / "uploads" / "new.md").exists()  # all of an upload, or nothing
        served.until(lambda: all(file["status"] == "parsed" for file in served.files()))
        served.http.delete("/api/knowledge/files", params={"name": "uploads/d2/readme.md"})
        assert not (tmp_path / "serve" / "files" / "uploads" / "d2").exists()
        assert len(served.files()) == 4


SERVER = """
import sys
from pathlib import Path
from llmkit.pipeline.pipeline import Pipeline
from llmkit.serve.runtime.knowledge_pool import KnowledgePool
from llmkit.serve.runtime.pipeline_registry import PipelineRegistry
from llmkit.serve.server import create_server
from llmkit.serve.settings import Settings
folder = Path(sys.argv[1])
settings = Settings(port=0, knowledge=folder / "kb", data=folder / "serve", sessions=folder / "s.sqlite",
                    encoder="hashing", grace=0.1)
pipeline = Pipeline.model_validate({"name": "find", "steps": ["retrieve"]})
registry = lambda: PipelineRegistry([pipeline], KnowledgePool(settings.knowledge))
create_server(settings, registry, lambda url: print(url, flush=True)).run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_accepted_uploads_are_read_after_a_restart(tmp_path, sent):
    files = [("files", (f"{n}.txt", f"The code of file {n} is {n * 7919}.")) for n in range(40)]
    command = [sys.executable, "-c", SERVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert httpx.post(f"{url}api/knowledge/files", files=files, timeout=60).status_code == 202
        process.send_signal(sent)
        process.wait(60)
    with running(tmp_path) as served:
        assert len(served.files()) == 40  # those that are not read yet are listed as waiting
        served.until(lambda: all(file["status"] == "parsed" for file in served.files()), 60)
        found = served.http.post("/api/knowledge/search", json={"query": "What is the code of file 39?", "k": 40})
        assert str(39 * 7919) in found.text
    with running(tmp_path) as served:  # and they are read once
        assert served.service.uploads.unfinished(served.service.uploads.folder) == []


@pytest.mark.skipif(os.name == "nt", reason="needs the permissions of POSIX")
def test_everything_in_the_data_folder_is_private(tmp_path):
    data = tmp_path / "serve"
    old = data / "ratings" / "local.jsonl"
    old.parent.mkdir(parents=True, mode=0o755)
    old.write_text("")
    old.chmod(0o644)
    outside = tmp_path / "outside.txt"
    outside.write_text("x")
    outside.chmod(0o644)
    (data / "link").symlink_to(outside)
    umask = os.umask(0)
    try:
        with running(tmp_path) as served:
            served.upload("d/note.txt", "The gate is shut at nine.")
            ready(served)
            answer = turn(served, "s", "When is the gate shut?")[1][-1][1]
            served.http.post("/api/feedback", json={"trace": answer["trace"], "rating": "up"})
            KeyStore(data).add("ada", ["ask"])
            modes = {path: path.lstat().st_mode & 0o777 for path in data.rglob("*") if not path.is_symlink()}
            assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}, modes
            assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}, modes
            assert len(modes) > 10
    finally:
        os.umask(umask)
    assert outside.stat().st_mode & 0o777 == 0o644


def test_head_is_answered_like_get_without_a_body(tmp_path):
    with running(tmp_path) as served:
        for path in ("/", "/page/app.js", "/favicon.ico", "/healthz", "/readyz"):
            get, head = served.http.get(path), served.http.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))
