"""Files that lie, explode, hang or crash: each ends in a status with a plain reason, the others go through."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmkit.errors import DataError
from llmkit.text.formats.limits import MIB
from llmkit.text.loading.detect_type import LANGUAGES
from llmkit.text.loading.load_files import Limits, Loaded, Rows, load, load_all
from llmkit.text.loading.scan_files import Source, scan

SMALL = Limits(max_seconds=20)


def loaded(folder: Path, limits: Limits = SMALL, workers: int = 2) -> dict[str, Loaded]:
    sources = [found for found in scan([folder]) if isinstance(found, Source)]
    return {result.source.path.name: result for result in load_all(sources, limits, workers)}


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return buffer.getvalue()


def word(members: dict[str, bytes]) -> bytes:
    return archive({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<x/>", **members})


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "lol">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(9))
    + b"]><lolz>&j;</lolz>"
)
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/hostname">]><r><p>see &x; here</p></r>'
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600
CASES: dict[str, tuple[bytes, str, str]] = {
    "empty.md": (b"", "empty", "empty"),
    "blank.txt": (b" \n\t\n", "empty", "no text"),
    "noise.bin": (bytes(range(256)) * 40, "unsupported", "not text"),
    "noise.docx": (bytes(range(256)) * 40, "unsupported", "not text"),
    "photo.jpg": (b"\xff\xd8\xff\xe0" + b"\0\1\2" * 300, "unsupported", "JPEG image.*OCR"),
    "tool.exe": (b"MZ\x90\0\3\0\0\0" + b"\0\1\2" * 300, "unsupported", "program"),
    "old.doc": (OLE + "WordDocument".encode("utf-16-le"), "unsupported", "save it as .docx"),
    "locked.docx": (OLE + "EncryptedPackage".encode("utf-16-le"), "encrypted", "password"),
    "cut.pdf": (b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog", "failed", "damaged PDF"),
    "cut.docx": (word({})[:150], "failed", "damaged zip"),
    "hollow.docx": (word({}), "failed", "damaged Word"),
    "hollow.epub": (archive({"mimetype": b"application/epub+zip"}), "failed", "lacks META-INF/container.xml"),
    "bomb.docx": (word({"word/media/x": b"\0" * (40 * MIB)}), "too_large", "expands .* times"),
    "many.docx": (word({f"word/{i}": b"" for i in range(30_000)}), "too_large", "members"),
    "slip.docx": (word({"../../evil": b"x"}), "failed", "outside the archive"),
    "laughs.docx": (word({"word/document.xml": LAUGHS}), "failed", "entities"),
    "nested.zip": (archive({"a.zip": archive({"b.zip": b"x"})}), "unsupported", "unpack it"),
    "bomb.txt.gz": (gzip.compress(b"\0" * (40 * MIB)), "too_large", "expands to more than"),
    "twice.gz.gz": (gzip.compress(gzip.compress(b"text")), "unsupported", "inside another"),
    "cut.txt.gz": (gzip.compress(os.urandom(3000))[:1000], "failed", "ends early"),
    "deep.json": (b"[" * 200_000, "failed", "deep"),
    "broken.json": (b'{"a": 1,}', "failed", "line 1, column"),
    "digits.json": (b"9" * 10_000, "failed", "not JSON"),
    "broken.ipynb": (b'{"cells": 3}', "failed", "notebook"),
    "line.txt": (b"x" * 200_000, "too_large", "100,000 characters"),
    "big.txt": (b"word " * MIB, "too_large", "more than 4.0 MiB"),
    "deep.xml": (b"<?xml version='1.0'?>" + b"<a>" * 5000 + b"x", "failed", "nested too deep"),
    "noise.html": (b"<html>" + bytes(range(256)) * 40, "unsupported", "not text"),
    "notxml.xml": (b"<?xml version='1.0'?>", "failed", "not well-formed"),
}
GOOD: dict[str, tuple[bytes, str]] = {
    "good.md": (b"# Fine\n\nStill read.", "Still read."),
    "laughs.xml": (LAUGHS.replace(b"<lolz>", b"<lolz><p>some text</p>"), "some text"),
    "outside.xml": (OUTSIDE, "see"),
    "deep.html": (b"<div>" * 50_000 + b"deep inside", ""),
    "unclosed.html": (b"<p>" + b"<b>" * 1000 + b"x</p><p>after", "after"),
    "open.html": (b"<html><body><p>never closed <b>bold <table><tr><td>cell", "never closed"),
    "nul.html": (b"<p>one\0two</p><p>three</p>", "three"),
}


def test_each_hostile_file_has_its_status_and_every_other_goes_through(tmp_path: Path) -> None:
    for name, (data, _, _) in CASES.items():
        (tmp_path / name).write_bytes(data)
    for name, (data, _) in GOOD.items():
        (tmp_path / name).write_bytes(data)
    begun = time.monotonic()
    results = loaded(tmp_path, Limits(max_seconds=20, max_bytes=4 * MIB, max_line=100_000))
    assert time.monotonic() - begun < 30
    assert set(results) == {*CASES, *GOOD}
    for name, (_, status, reason) in CASES.items():
        result = results[name]
        assert (name, result.status) == (name, status), result.reason
        assert not list(result.documents)
        assert re.search(reason, result.reason), (name, result.reason)
    for name, (_, text) in GOOD.items():
        result = results[name]
        documents = list(result.documents)
        if name == "deep.html":
            assert (result.status, "nested too deep" in result.reason) == ("empty", True), result.reason
            continue
        assert result.status == "parsed", (name, result.reason)
        assert text in documents[0].text
    outside = next(iter(results["outside.xml"].documents))
    assert Path("/etc/hostname").read_text().strip() not in outside.text or len(outside.text) < 15


@pytest.mark.parametrize("name", sorted(CASES))
def test_load_raises_data_errors_only(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(CASES[name][0])
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        load(path, limits=Limits(max_bytes=4 * MIB, max_line=100_000))


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "nothing.md")
    with pytest.raises(DataError, match="a folder"):
        load(tmp_path)


def encrypted_pdf() -> bytes:
    """A PDF whose password is not empty: its checksum of the password matches none."""
    from tests.test_text_load_formats import pdf

    lock = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -44 >> /ID [<{'43' * 16}><{'43' * 16}>]"
    return pdf([["secret"]], extra=lock)


def test_an_encrypted_pdf_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_bytes(encrypted_pdf())
    result = loaded(tmp_path)["a.pdf"]
    assert (result.status, result.reason) == ("encrypted", "the PDF is protected by a password")


def test_an_encrypted_zip_says_so(tmp_path: Path) -> None:
    data = bytearray(word({}))
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(magic)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(magic, at + 4)
    (tmp_path / "a.docx").write_bytes(bytes(data))
    assert loaded(tmp_path)["a.docx"].status == "encrypted"


# --- crashes, time and memory -------------------------------------------------------------------------------------


def with_reader(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Make worker processes read .log files by a function of our own: a stand-in for a parser that goes wrong."""
    (folder / "sitecustomize.py").write_text(
        textwrap.dedent(
            f"""
            import llmkit.text.loading.parse as parsing
            real = parsing._parse
            def wrong(data, name, id, limits):
                if name.endswith(".log"):
            {textwrap.indent(textwrap.dedent(body), " " * 20).lstrip(" ").join(["                    ", ""])}
                return real(data, name, id, limits)
            parsing._parse = wrong
            """
        )
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path.cwd())]))


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ("import time; time.sleep(60)", "timeout", "more than 2 s"),
        ("while True: pass", "timeout", "more than 2 s"),
        ("import os; os.kill(os.getpid(), 11)", "failed", r"crashed \(signal 11\)"),
        ("import os; os._exit(7)", "failed", r"crashed \(exit code 7\)"),
        ("x = bytearray(2**31); x[::4096] = b'1' * len(x[::4096])", "too_large", "memory"),
        ("print('chatter'); raise KeyError('odd')", "failed", "KeyError"),
    ],
)
def test_one_bad_parse_costs_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, status: str, reason: str
) -> None:
    with_reader(monkeypatch, tmp_path, body)
    files = tmp_path / "files"
    files.mkdir()
    for i in range(6):
        (files / f"{i}.md").write_text(f"text {i}")
    (files / "2x.log").write_text("bad")
    results = loaded(files, Limits(max_seconds=2, max_memory=1024 * MIB))
    assert list(results) == ["0.md", "1.md", "2.md", "2x.log", "3.md", "4.md", "5.md"]
    assert [result.status for result in results.values()].count("parsed") == 6
    assert results["2x.log"].status == status, results["2x.log"].reason
    assert re.search(reason, results["2x.log"].reason)


def children() -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_closing_the_generator_ends_the_workers_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_reader(monkeypatch, tmp_path, "import time; time.sleep(60)")
    files = tmp_path / "files"
    files.mkdir()
    (files / "-first.md").write_text("text")
    for i in range(10):
        (files / f"{i}.log").write_text("slow")
    before, threads = children(), set(threading.enumerate())
    results = load_all(s for s in scan([files]) if isinstance(s, Source))
    assert next(results).status == "parsed"
    ours = set(threading.enumerate()) - threads
    assert ours
    begun = time.monotonic()
    results.close()
    assert time.monotonic() - begun < 3
    assert set(children()) <= set(before)
    assert not [thread for thread in ours if thread.is_alive()]


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_in_a_script_without_a_main_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script has no ``if __name__ == "__main__"``; it is interrupted while a slow file is being parsed."""
    marker = tmp_path / "started"
    with_reader(
        monkeypatch,
        tmp_path,
        f"import time; open({str(marker)!r}, 'w').write(str(__import__('os').getpid())); time.sleep(60)",
    )
    files = tmp_path / "files"
    tree = {"1.md": "text", "2.md": "text", "3.log": "slow", "4.log": "slow", "5.log": "slow", "6.md": "text"}
    files.mkdir()
    for name, text in tree.items():
        (files / name).write_text(text)
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import sys, time
from pathlib import Path
from llmkit.text.loading.scan_files import scan
from llmkit.text.loading.load_files import load_all
for result in load_all(scan([Path({str(files)!r})])):
    while not Path({str(marker)!r}).exists():
        time.sleep(0.02)
    print("ready", flush=True)
    time.sleep(30)
"""
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert errors.strip().endswith(b"KeyboardInterrupt")
    worker = Path(f"/proc/{marker.read_text()}")
    deadline = time.monotonic() + 5
    while worker.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not worker.exists()


# --- row files ----------------------------------------------------------------------------------------------------


def test_row_files_stream_and_count_what_they_leave_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for i in range(20_000):
            file.write(json.dumps({"id": i, "text": f"row {i}"}) + "\n" if i % 100 else "broken\n")
        file.write('{"id": "huge", "text": "' + "x" * 300_000 + '"}\n{"id": "last", "text": "end"}\n')
    result = loaded(tmp_path, Limits(max_line=100_000))["rows.jsonl"]
    rows = result.documents
    assert isinstance(rows, Rows)
    count = sum(1 for _ in rows)
    assert (count, rows.accepted_count, rows.rejected_count, len(rows.rejected)) == (19_801, 19_801, 201, 20)
    assert rows.rejected[0].startswith("line 1: not JSON")
    assert rows.summary.startswith("201 rows left out: line 1:")


def test_row_files_do_not_fill_memory(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
from llmkit.text.loading.scan_files import scan
from llmkit.text.loading.load_files import load_all
n = sum(1 for result in load_all(scan([Path(sys.argv[1])])) for _ in result.documents)
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    figures = []
    for rows in (2_000, 60_000):
        path = tmp_path / f"{rows}.jsonl.gz"
        with gzip.open(path, "wt", compresslevel=1) as file:
            for i in range(rows):
                file.write(json.dumps({"id": f"d{i}", "text": f"{i} " * 200}) + "\n")
        env = {**os.environ, "PYTHONPATH": str(Path.cwd())}
        out = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, env=env, check=True
        )
        count, rss = map(int, out.stdout.split())
        assert count == rows
        figures.append(rss)
    assert figures[1] - figures[0] < 20_000  # kB; the rows themselves are 60 MB of text


def test_a_gzip_bomb_of_rows_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.gz"
    line = json.dumps({"text": "a" * 5000}).encode() + b"\n"
    path.write_bytes(gzip.compress(line * (80 * MIB // len(line))))
    rows = Rows(path, "bomb", Limits(max_ratio=20))
    for _ in rows:
        pass
    assert "gzip bomb" in rows.rejected[-1]
    endless = tmp_path / "line.jsonl.gz"
    endless.write_bytes(gzip.compress(b'{"text":"' + b"a" * (70 * MIB)))
    rows = Rows(endless, "line", Limits(max_line=MIB, max_ratio=1e9))
    assert list(rows) == []
    assert rows.rejected == ["line 1: longer than 1.0 MiB"]


def test_a_damaged_gzip_of_rows_gives_what_came_before(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl.gz"
    lines = b"".join(json.dumps({"text": os.urandom(40).hex()}).encode() + b"\n" for _ in range(5000))
    path.write_bytes(gzip.compress(lines)[:-3000])
    rows = Rows(path, "cut", Limits())
    assert 4000 < len(list(rows)) < 5000
    assert "ends early" in rows.rejected[-1]


# --- random bytes -------------------------------------------------------------------------------------------------

EXTENSIONS = sorted(
    {*LANGUAGES, *"txt md html xml csv tsv json jsonl ipynb eml pdf docx pptx xlsx epub odt rtf gz zip bin".split(), ""}
)
MAGIC = [
    b"",
    b"%PDF-1.4\n",
    b"PK\3\4",
    b"{\\rtf1",
    b"\x1f\x8b\x08\0",
    b"<html>",
    b"<?xml?><a>",
    b"{",
    b"[{",
    b"\xff\xfe",
    OLE,
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(magic=st.sampled_from(MAGIC), data=st.binary(max_size=300), extension=st.sampled_from(EXTENSIONS))
def test_random_bytes_raise_data_errors_only(tmp_path: Path, magic: bytes, data: bytes, extension: str) -> None:
    path = tmp_path / f"random.{extension}"
    path.write_bytes(magic + data)
    try:
        documents = load(path)
    except DataError:
        return
    for document in documents:
        check(document.text, document.blocks)
        json.dumps([document.text, document.title, document.metadata], ensure_ascii=False).encode()


PIECES = st.sampled_from(
    "# H\n|## x\n|* a\n|1. b\n|  - c\n|> q\n|```\n|    code\n|| a \\| b |\n|---|\n|\n|===\n|<div>\n|<b>|</b>|<table><tr>|<td>|</tr>|<li>|<ul>"
    '|</ul>|<pre>|</pre>|<h2>|</h2>|a,b\n|"x|;|\t|é|日本|\r\n|\r|word |&amp;|<p>|<br>|</p>|---\n|title: x\n|\x0b|\u2028|\ud83d'.split(
        "|"
    )
).filter(lambda piece: not any("\ud800" <= char <= "\udfff" for char in piece))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=40), extension=st.sampled_from(["md", "html", "csv", "txt", "xml", "py"]))
def test_blocks_are_ordered_apart_and_in_range(tmp_path: Path, pieces: list[str], extension: str) -> None:
    source = "".join(pieces)
    path = tmp_path / f"a.{extension}"
    path.write_bytes(source.encode())
    try:
        (document,) = load(path)
    except DataError:
        return
    check(document.text, document.blocks)
    if document.metadata["type"] in ("markdown", "text", "code"):
        assert document.text == source


def check(text: str, blocks: tuple) -> None:
    at = 0
    for block in blocks:
        assert at <= block.start < block.end <= len(text)
        assert text[block.start : block.end].strip()
        at = block.end
