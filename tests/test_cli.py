"""The command line as scripts rely on it: JSON forms, exit codes, messages."""

from __future__ import annotations

import gzip
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from llmkit.cli import COMMANDS, cli


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs llmkit in its own process and folder; gives (code, out, err)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, stdin="", code=0):
        done = subprocess.run(
            [sys.executable, "-m", "llmkit", *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout, done.stderr

    return run


@pytest.fixture
def kb(run, tmp_path):
    rows = [
        {
            "_id": "w",
            "title": "Warranty",
            "text": "The warranty covers parts. It does not cover damage by water.",
            "lang": "en",
        },
        {"_id": "s", "title": "Shipping", "text": "Parcels leave Bern within two days.", "lang": "de"},
    ]
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "note.md").write_text("# Garden\n\nTomatoes want full sun.\n")
    out, _ = run("ingest", "rows.jsonl.gz", "note.md", "--into", "kb", "--encoder", "hashing", "--json")
    assert json.loads(out)["documents"] == 3
    return tmp_path / "kb"


def test_ask_and_chat_read_the_knowledge_base_that_the_pipeline_names(run, kb, monkeypatch):
    monkeypatch.delenv("LLMKIT_KB", raising=False)
    (kb.parent / "mine.yaml").write_text("name: mine\nknowledge: kb\nsteps: [{type: retrieve, retriever: bm25}]\n")
    for asked in (["ask", "parcels"], ["ask", "parcels", "--as-of", "1"], ["chat"]):
        out, _ = run(*asked, "--pipeline", "mine.yaml", stdin="parcels\n" if asked == ["chat"] else "")
        assert "Bern" in out
    _, err = run("ask", "parcels", "--pipeline", "mine.yaml", "--kb", "other", code=1)
    assert "no knowledge base at other" in err
    monkeypatch.setenv("LLMKIT_KB", "elsewhere")
    _, err = run("ask", "parcels", "--pipeline", "mine.yaml", code=1)
    assert "no knowledge base at elsewhere" in err


def test_a_copy_is_told_at_ingest_and_in_the_status(run, tmp_path):
    (tmp_path / "copies").mkdir()
    for name in ("a.txt", "b.txt"):
        (tmp_path / "copies" / name).write_text("The pump of the old mill is serviced in May by the miller.")
    out, _ = run("ingest", "copies", "--into", "twin", "--encoder", "hashing", "--near-duplicates", "0.9")
    assert "1 documents are near duplicates of others, kept and not indexed" in out
    out, _ = run("status", "--kb", "twin", "--files")
    assert "copies/b.txt is a near duplicate of copies/a.txt (100% of the wording)" in out
    _, err = run("ingest", "copies", "--into", "twin", "--near-duplicates", "0.5", code=2)
    assert "was made with near-duplicates 0.9, not 0.5" in err
    _, err = run("ingest", "copies", "--into", "other", "--encoder", "hashing", "--language", "deutsch", code=2)
    assert "unknown language 'deutsch'" in err


def test_ingest_json_is_one_object_with_the_documented_keys(run, kb):
    out, _ = run("ingest", "rows.jsonl.gz", "note.md", "--into", "kb", "--json")
    summary = json.loads(out)
    assert {"files", "chunks", "encoded", "unchanged", "removed", "failed", "seconds"} <= set(summary)
    assert (summary["files"], summary["unchanged"], summary["encoded"]) == (2, 2, 0)
    out, _ = run("ingest", "rows.jsonl.gz", "--into", "kb")
    assert "nothing has changed: no text was encoded" in out


def test_ask_json_has_the_documented_row(run, kb):
    out, _ = run("ask", "Is damage by water covered?", "--kb", "kb", "--json", "--set", "steps.extract.threshold=0")
    row = json.loads(out)
    assert {"id", "answer", "citations", "abstained", "hits", "seconds"} <= set(row)
    (citation,) = row["citations"]
    assert citation["document"] == "w"
    assert citation["quote"] == "It does not cover damage by water."
    assert citation["supported"] is True
    text = "The warranty covers parts. It does not cover damage by water."
    assert text[citation["start"] : citation["end"]] == citation["quote"]


def test_ask_for_people_shows_answer_place_and_times(run, kb):
    out, err = run("ask", "Is damage by water covered?", "--kb", "kb", "--set", "steps.extract.threshold=0")
    assert out.startswith("It does not cover damage by water. [1]")
    assert "[1] w, characters 27-61" in out
    assert "in all: retrieve" in err


def test_ask_says_what_is_not_there_with_the_nearest_passages(run, kb):
    out, _ = run("ask", "zebra quantum mortgage", "--kb", "kb", "--set", "steps.extract.threshold=2")
    assert out.startswith("Not found in these documents.")
    assert "Nearest passages" in out


def test_questions_in_answers_out_row_by_row(run, kb, tmp_path):
    rows = (
        '{"id": "a", "question": "water damage?"}\nnot json\n{"_id": 7, "text": "parcels from Bern?"}\n{"id": "c"}\n\n'
    )
    (tmp_path / "q.jsonl").write_text(rows)
    _, err = run("ask", "--questions", "q.jsonl", "--out", "answers.jsonl", "--kb", "kb")
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["id"] for row in answers] == ["a", "7"]
    assert "q.jsonl, line 2: not JSON" in err
    assert "q.jsonl, line 4: expected an object" in err
    assert "2 answered, 2 failed" in err
    run("ask", "--questions", "-", "--kb", "kb", stdin="nothing good\n", code=1)


def test_search_one_and_many(run, kb, tmp_path):
    out, _ = run("search", "tomatoes", "--kb", "kb", "-k", "2", "--mode", "bm25", "--json")
    (hit,) = json.loads(out)["hits"]
    assert hit["document"] == "note.md"
    assert hit["heading"] == ["Garden"]
    (tmp_path / "q.jsonl").write_text('{"id": "a", "text": "warranty"}\n{"_id": "b", "question": "parcels"}\n')
    for mode in ("dense", "bm25", "hybrid", "{type: hybrid, fusion: rrf}"):
        run("search", "--queries", "q.jsonl", "--out", "run.jsonl", "--kb", "kb", "--mode", mode)
        rows = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
        assert [row["id"] for row in rows] == ["a", "b"]
        assert set(rows[0]["hits"][0]) == {"document", "chunk", "score", "start", "end"}
        assert [row["hits"][0]["document"] for row in rows] == ["w", "s"]


def test_notes_of_a_knowledge_base_are_shown_once_and_never_on_stdout(run, kb):
    def spoil():
        (kb / "lexical" / "meta.json").write_text("{broken")

    spoil()
    out, err = run("search", "tomatoes", "--kb", "kb")
    assert "note: the BM25 index was damaged and has been rebuilt" in err
    assert "rebuilt" not in out
    assert "note" not in run("search", "tomatoes", "--kb", "kb")[1]
    for command in (["search", "tomatoes"], ["status"], ["ingest", "note.md"]):
        spoil()
        (note,) = json.loads(run(*command, "--kb", "kb", "--json")[0])["notes"]
        assert "rebuilt" in note
        assert json.loads(run(*command, "--kb", "kb", "--json")[0])["notes"] == []
    with sqlite3.connect(kb / "catalog.sqlite") as db:
        db.execute("UPDATE meta SET value = replace(value, '/f32', '/bf16') WHERE key = 'identity'")
    for command in (["search", "tomatoes"], ["status"]):
        assert "note: vectors were made by hashing-256@1/sum/256/bf16" in run(*command, "--kb", "kb")[1]
    with sqlite3.connect(kb / "catalog.sqlite") as db:
        db.execute("UPDATE meta SET value = 'another@1/sum/256/f32' WHERE key = 'identity'")
    assert "vectors cannot be compared" in run("status", "--kb", "kb")[1]


def test_stdout_of_a_piped_chat_holds_answers_and_no_prompt(run, kb):
    (kb.parent / "p.yaml").write_text("name: p\nsteps: [{type: retrieve, retriever: bm25}]\n")
    out, err = run("chat", "talk", "--kb", "kb", "--pipeline", "p.yaml", stdin="parcels\nwarranty\n")
    assert "Parcels leave Bern" in out
    assert ">" not in out
    assert "talk: 0 turns" in err


def test_where_limits_search_and_ask(run, kb):
    out, _ = run("search", "warranty parcels", "--kb", "kb", "--where", "lang == de", "--json")
    assert {hit["document"] for hit in json.loads(out)["hits"]} == {"s"}
    out, _ = run("ask", "warranty", "--kb", "kb", "--where", "lang == de", "--json")
    assert {hit["document"] for hit in json.loads(out)["hits"]} == {"s"}
    _, err = run("search", "x", "--kb", "kb", "--where", "lang = de", code=2)
    assert "column 6" in err


def test_status_shows_the_ledger_and_every_file(run, kb):
    out, _ = run("status", "--kb", "kb", "--files")
    assert "3 in 3 chunks" in out
    assert "truncated" in out
    assert "note.md" in out
    out, _ = run("status", "--kb", "kb", "--files", "--json")
    status = json.loads(out)
    assert {file["name"] for file in status["per_file"]} == {"rows.jsonl.gz", "note.md"}
    assert all(file["chunks"] == file["embedded"] for file in status["per_file"])


def test_check_reports_everything_and_exits_2(run, tmp_path):
    (tmp_path / "bad.yaml").write_text("name: x\nsteps:\n  - {type: retrive, k: 3}\n  - {type: answer, promt: a}\n")
    _, err = run("check", "docs-qa", "bad.yaml", code=2)
    assert "did you mean 'retrieve'" in err
    assert "line 4, column 20: steps[1].promt" in err
    out, _ = run("check", "docs-qa", "docs-qa-local", "docs-qa-openai", "docs", "docs-retrieval")
    assert out.count("is fine") == 5
    assert "docs: task docs is fine" in out
    assert "docs-retrieval: experiment docs-retrieval is fine" in out
    _, err = run("check", "docs-qa", "--set", "steps.retrieve.k=many", code=2)
    assert "steps[0].k" in err


def test_schema_init_doctor_and_models(run, tmp_path):
    out, _ = run("schema", "pipeline")
    assert json.loads(out)["$defs"]["step"]
    out, _ = run("init", "mine")
    assert "docs-qa.yaml" in out
    (tmp_path / "mine/pipelines/docs-qa.yaml").write_text("mine")
    _, err = run("init", "mine")
    assert "there already" in err
    assert (tmp_path / "mine/pipelines/docs-qa.yaml").read_text() == "mine"
    out, _ = run("doctor", "--json")
    report = json.loads(out)
    assert "llmkit models pull minilm" in report["models"]["minilm"]
    assert report["machine"]["encoder runs on"]
    out, _ = run("doctor")
    assert "runtimes" in out
    out, _ = run("models", "list", "--json")
    assert {row["name"] for row in json.loads(out)} == {"minilm", "smollm2", "answerer", "tool-caller"}
    _, err = run("models", "path", "minilm", code=1)
    assert "llmkit models pull minilm" in err
    _, err = run("models", "path", "minlm", code=1)
    assert "did you mean 'minilm'" in err


def test_prompt_lock_writes_digests(run, tmp_path):
    (tmp_path / "prompts/p").mkdir(parents=True)
    (tmp_path / "prompts/p/v1.md").write_text("---\ndescription: d\n---\n# user\nhello\n")
    run("prompt", "lock")
    assert list(json.loads((tmp_path / "prompts/LOCK.json").read_text())) == ["p@v1"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["ingst"], 2, "did you mean 'ingest'"),
        (["refine", "x"], 2, "refine is a pipeline: llmkit ask QUESTION --pipeline refine"),
        (["ask"], 2, "give a QUESTION"),
        (["ask", "x", "--kb", "none"], 1, "llmkit ingest FILES --into none"),
        (["ask", "x", "--kb", "none", "--pipeline", "docs-qq"], 2, "did you mean 'docs-qa'"),
        (["ask", "  ", "--kb", "kb"], 1, "empty"),
        (["search", "x", "--kb", "none"], 1, "no knowledge base"),
        (["search", "x", "--kb", "kb", "--mode", "densse"], 2, "did you mean 'dense'"),
        (["search", "x", "--kb", "kb", "--mode", "densse"], 2, "--mode  unknown retriever type"),
        (["search", "x", "--kb", "kb", "--mode", "{type: hybrid, depth: 0}"], 2, "--mode.depth  input should be"),
        (["search", "--kb", "kb"], 2, "give a QUERY"),
        (["search", "x", "--queries", "q.jsonl", "--kb", "kb"], 2, "both a QUERY and --queries q.jsonl were given"),
        (["search", " ", "--kb", "kb"], 1, "the QUERY is empty"),
        (["search", "x", "--out", "hits.jsonl", "--kb", "kb"], 2, "--out is for the hits of --queries"),
        (["ask", "x", "--out", "a.jsonl", "--kb", "kb"], 2, "--out is for the answers to --questions"),
        (["ask", "x", "--questions", "q.jsonl", "--kb", "kb"], 2, "both a QUESTION and --questions q.jsonl were given"),
        (["ask", "--questions", "rows.jsonl.gz", "--kb", "kb"], 1, "rows.jsonl.gz is not UTF-8 text"),
        (["ingest", "note.md", "--into", "q.jsonl"], 1, "q.jsonl is a file: name a folder for the knowledge base"),
        (["search", "x", "--kb", "kb", "--as-of", "2020"], 1, "the end of the year is written 2020-12-31"),
        (["search", "--queries", "no.jsonl", "--kb", "kb"], 2, "no.jsonl cannot be read"),
        (["ask", "--questions", "q.jsonl", "--out", "no/such/folder/a.jsonl", "--kb", "kb"], 2, "cannot be written"),
        (["ingest", "nowhere", "--into", "new"], 1, "no file or folder nowhere"),
        (["ingest", "note.md", "--into", "note.md", "--encoder", "hashing"], 1, "note.md"),
        (["ingest", "note.md", "--into", "new", "--encoder", "hashin"], 2, "did you mean 'hashing'"),
        (["ingest", "note.md", "--into", "new", "--encoder", "hashin"], 2, "--encoder: unknown encoder 'hashin'"),
        (["ingest", "note.md", "--into", "new", "--encoder", "hashing", "--max-tokens", "15"], 2, "'--max-tokens': 15"),
        (
            ["ingest", "note.md", "--into", "new", "--encoder", "hashing", "--max-tokens", "9999"],
            2,
            "--max-tokens 9999 is more than the encoder hashing-256@1/sum/256/f32 reads: it is at most 256",
        ),
        (["ingest", "note.md", "--into", "kb", "--max-tokens", "64"], 2, "was made with max-tokens 256, not 64"),
        (
            ["ingest", "note.md", "--into", "kb", "--encoder", "{type: hashing, dim: 64}"],
            2,
            "was made with encoder hashing-256@1/sum/256/f32, not hashing-64@1/sum/256/f32",
        ),
        (["ingest", "note.md", "--into", "new"], 1, "llmkit models pull minilm"),
        (["status", "--kb", "note.md"], 1, "no knowledge base"),
        (["schema", "pipline"], 2, "pipline"),
    ],
)
def test_mistakes_end_in_one_clear_message(run, kb, tmp_path, arguments, code, says):
    (tmp_path / "q.jsonl").write_text('{"id": "a", "text": "warranty"}\n')
    _, err = run(*arguments, code=code)
    assert says in err
    assert not (tmp_path / "new" / "catalog.sqlite").exists()


def test_nothing_readable_is_exit_1_and_each_file_says_why(run, tmp_path):
    (tmp_path / "junk.bin").write_bytes(os.urandom(500))
    out, _ = run("ingest", "junk.bin", "--into", "kb", "--encoder", "hashing", code=1)
    assert "junk.bin" in out
    (tmp_path / "empty").mkdir()
    _, err = run("ingest", "empty", "--into", "kb", code=1)
    assert "no file to read" in err
    (tmp_path / "empty" / ".hidden").write_text("x")
    _, err = run("ingest", "empty", "--into", "new", code=1)
    assert "no file to read" in err
    assert ".hidden: hidden file; name it to read it" in err
    assert not (tmp_path / "new").exists()


def test_the_shortest_and_longest_chunks_are_taken(run, tmp_path):
    (tmp_path / "a.md").write_text("Tomatoes want full sun.\n")
    for tokens in (16, 256):
        run("ingest", "a.md", "--into", f"kb{tokens}", "--encoder", "hashing", "--max-tokens", tokens)
        run("ingest", "a.md", "--into", f"kb{tokens}", "--max-tokens", tokens)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent as on POSIX systems")
def test_ctrl_c_exits_130_and_keeps_what_was_committed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(3000):
        (folder / f"{i}.txt").write_text(f"text {i} " * 50)
    command = [sys.executable, "-m", "llmkit", "ingest", "many", "--into", "kb", "--encoder", "hashing"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not (tmp_path / "kb" / "writer.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "what was committed is kept" in err
    assert "Traceback" not in err
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["files"] == 3000


def test_the_history_of_a_knowledge_base(run, kb, tmp_path):
    (tmp_path / "note.md").write_text("# Garden\n\nTomatoes want shade.\n")
    run("ingest", "note.md", "--into", "kb")
    log = json.loads(run("kb", "log", "--kb", "kb", "--json")[0])
    assert [one["id"] for one in log] == [1, 2]
    out, err = run("kb", "diff", "1", "2", "--kb", "kb")
    assert out.strip().startswith("~")
    assert "1 changed" in err
    hits = json.loads(run("search", "tomatoes", "--kb", "kb", "--as-of", "1", "--json", "--mode", "bm25")[0])["hits"]
    assert "full sun" in hits[0]["text"]
    old = json.loads(
        run(
            "ask",
            "What do tomatoes want?",
            "--kb",
            "kb",
            "--as-of",
            "1",
            "--json",
            "--set",
            "steps.extract.threshold=0",
        )[0]
    )
    assert "full sun" in old["answer"]
    run("kb", "rollback", "1", "--kb", "kb")
    assert "full sun" in run("search", "tomatoes", "--kb", "kb", "--mode", "bm25")[0]
    assert "is undamaged" in run("kb", "verify", "--kb", "kb")[0]
    assert "freed" in run("kb", "compact", "--kb", "kb")[0]
    _, err = run("search", "tomatoes", "--kb", "kb", "--as-of", "1", code=1)
    assert "it was compacted, the oldest kept is 3" in err
    for option in ("--memory", "--sessions", "--runs"):
        _, err = run("kb", "forget", "w", "--kb", "kb", option, "nix", code=2)
        assert f"{option}: there is no nix; nothing was forgotten" in err
    out, _ = run("kb", "forget", "w", "--kb", "kb")
    assert ".llmkit/agent.sqlite (not there): erased what agents remember of 0 conversations" in out
    assert "runs: erased 0 samples" in out
    assert "sessions.sqlite: erased 0 turns" in out
    next((tmp_path / "kb" / "vectors").glob("*.npy")).write_bytes(b"torn")
    out, _ = run("kb", "verify", "--kb", "kb", code=1)
    assert "llmkit kb repair --kb kb" in out
    assert "repaired vectors" in run("kb", "repair", "--kb", "kb")[0]
    assert "is undamaged" in run("kb", "verify", "--kb", "kb")[0]


def test_every_command_and_option_is_documented(run):
    import click
    from conftest import REPOSITORY

    text = (REPOSITORY / "docs" / "cli.md").read_text()
    for name in COMMANDS:
        command = cli.load(name)
        leaves = [command]
        if isinstance(command, click.Group):
            context = click.Context(command)
            leaves = [command.get_command(context, one) for one in command.list_commands(context)]
        assert f"llmkit {name}" in text
        for leaf in leaves:
            for option in leaf.params:
                if isinstance(option, click.Option):
                    assert any(f"`{word}" in text or f" {word}" in text for word in option.opts), (name, option.opts)


def test_code_is_asked_for_without_a_knowledge_base_and_mended(run, tmp_path):
    from llmkit.errors import SandboxError
    from llmkit.sandbox.isolation import isolation

    try:
        isolation()
    except SandboxError as error:
        pytest.skip(str(error))
    script = tmp_path / "script.jsonl"
    script.write_text('"double = lambda x: x"\n"double = lambda x: 2 * x"\n')
    model = f"model.model=scripted:@{script}"
    out, err = run("ask", "Name it double.\nassert double(2) == 4", "--pipeline", "code", "--set", model)
    assert "Refined answer:\ndouble = lambda x: 2 * x" in out
    assert "refine: round 1 of 1 is kept" in err
    assert "it stopped on: accepted" in err
    words = ["ask", "Write", "--pipeline", "refine-concepts", "--set", "model.model='scripted:A dog'"]
    out, _ = run(*words, "--input", 'concepts=["dog"]', "--json")
    assert json.loads(out)["answer"] == "A dog"
    _, err = run(*words, code=1)
    assert "came without the input 'concepts'" in err
    _, err = run(*words, "--input", "concepts", code=2)
    assert "expected NAME=VALUE" in err
