"""The report: what it shows, and that data stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest
from evaluation import install, make_pipeline, make_task, reader, write_world
from lxml import html

from llmkit.errors import DataError, ModelError
from llmkit.evaluation.analysis.error_analysis import blame
from llmkit.evaluation.report import samples as report_samples
from llmkit.evaluation.report.page import render, write
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.reopen import reopen
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.runs.run_folder import RunFolder, write_json

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'& \u2028\u2029 \u202eevil 😀 \x00 `${x}`"


def made(tmp_path, monkeypatch, script, name="reading", **task):
    install(monkeypatch, script)
    world = tmp_path / "world"
    if not world.exists():
        write_world(world)
    planned = plan(make_pipeline(name=name), make_task(world, **task), tmp_path / "runs", cache=False)
    return evaluate(planned)


def data_of(page):
    return json.loads(html.fromstring(page).get_element_by_id("data").text)


def test_a_page_of_two_runs(tmp_path, monkeypatch):
    good = made(tmp_path, monkeypatch, reader)
    worse = made(
        tmp_path,
        monkeypatch,
        lambda m: "On the moon [1]." if "g1" in m[-1].text.rpartition("Question")[2] else reader(m),
        name="worse",
    )
    write_json(worse.path / "blame.json", blame(reopen(worse.path)).row())
    page = render([good, worse])
    tree = html.fromstring(page)
    text = tree.text_content()
    for part in (
        "Figures",
        "Against world/reading",
        "Failures by stage",
        "Seconds a sample",
        "win/tie/loss",
        "no difference shown",
    ):
        assert part in text
    samples = data_of(page)["samples"]
    assert len(samples) == 24
    wrong = [sample for sample in samples if sample["kind"] == "wrong"]
    assert {sample["stage"] for sample in wrong} == {"generated"}
    right = next(sample for sample in samples if sample["kind"] == "right")
    (start, end), *_ = right["hits"][0]["marks"]
    assert "was made in" in right["hits"][0]["text"][start:end]
    assert right["prompt"][-1][1].startswith("Passages:")
    assert not re.findall(r"""(?:src|href|url)\s*[=(]""", page)


def test_what_is_in_the_data_stays_text(tmp_path, monkeypatch):
    world = write_world(tmp_path / "world", 3)
    for name in ("corpus", "questions"):
        rows = [json.loads(line) for line in (world / f"{name}.jsonl").read_text().splitlines()]
        for row in rows:
            row.update(
                {key: f"{value} {HOSTILE}" for key, value in row.items() if isinstance(value, str) and "id" not in key}
            )
            row.update({key: [HOSTILE] for key in ("answers",) if key in row})
        (world / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = made(tmp_path, monkeypatch, lambda _: ModelError(HOSTILE), fail_on_error=1.0)
    (folder.path / "traces.jsonl").read_bytes()
    page = render([folder])
    tree = html.fromstring(page)
    assert len(tree.xpath("//script")) == 2
    assert not tree.xpath("//img")
    assert not tree.xpath("//*[@onerror]")
    samples = data_of(page)["samples"]
    assert samples[0]["question"].endswith("`${x}`")
    assert samples[0]["error"].endswith("`${x}`")
    assert samples[0]["answers"] == [HOSTILE.strip()] or samples[0]["answers"] == [HOSTILE]


def test_only_the_pages_own_script_and_style_may_run(tmp_path, monkeypatch):
    page = render([made(tmp_path, monkeypatch, reader)])
    tree = html.fromstring(page)
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL).group(1)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (script, style)]
    assert policy == f"default-src 'none'; script-src 'sha256-{hashes[0]}'; style-src 'sha256-{hashes[1]}'"
    assert not tree.xpath("//*[@style]")
    assert "innerHTML" not in script


def test_what_cannot_be_scored_is_said_and_is_no_zero(tmp_path, monkeypatch):
    folder = made(tmp_path, monkeypatch, reader, metrics=[{"type": "retrieval", "k": [50]}], primary="")
    text = html.fromstring(render([folder])).text_content()
    assert "12 unscored: the pipeline retrieves 3 passages, not 50" in text
    assert "NaN" not in text
    assert {sample["kind"] for sample in data_of(render([folder]))["samples"]} == {"unscored"}


def test_many_samples_are_left_out_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(report_samples, "SAMPLES", 4)
    folder = made(tmp_path, monkeypatch, lambda m: "No." if "g7" in m[-1].text.rpartition("Question")[2] else reader(m))
    page = render([folder])
    samples = data_of(page)["samples"]
    assert [sample["kind"] for sample in samples] == ["wrong", "right", "right", "right"]
    assert "8 samples are not on this page" in html.fromstring(page).text_content()


def test_other_questions_are_shown_and_not_compared(tmp_path, monkeypatch):
    page = render([made(tmp_path, monkeypatch, reader), made(tmp_path, monkeypatch, reader, limit=2)])
    assert "Not compared: the runs were not asked the same questions" in html.fromstring(page).text_content()


def test_a_run_that_has_not_ended_and_a_place_that_cannot_be_written(tmp_path, monkeypatch):
    folder = made(tmp_path, monkeypatch, reader)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        write([folder], tmp_path / "file" / "page.html")
    (folder.path / "summary.json").unlink()
    with pytest.raises(DataError, match="has no summary yet"):
        render([RunFolder(folder.path)])


def test_an_emoji_before_a_quote_does_not_move_the_mark(tmp_path, monkeypatch):
    world = write_world(tmp_path / "world", 2)
    text = (world / "corpus.jsonl").read_text().replace("The gadget number", "😀😀 The gadget number")
    (world / "corpus.jsonl").write_text(text)
    samples = data_of(render([made(tmp_path, monkeypatch, reader)]))["samples"]
    for hit in (hit for sample in samples for hit in sample["hits"] if hit["marks"]):
        (start, end), *_ = hit["marks"]
        units = hit["text"].encode("utf-16-le")
        assert units[2 * start : 2 * end].decode("utf-16-le").startswith("The gadget g")
