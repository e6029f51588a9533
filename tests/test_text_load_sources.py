"""Walking folders, and every file of the shared fixtures."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from llmkit.errors import DataError
from llmkit.text.loading.load_files import Limits, load_all
from llmkit.text.loading.scan_files import Skipped, Source, digest, scan


def tree(root: Path, *files: str) -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def ids(*roots: Path) -> list[str]:
    return [found.id for found in scan(roots) if isinstance(found, Source)]


def skipped(*roots: Path) -> dict[str, str]:
    return {found.path.name: found.reason for found in scan(roots) if isinstance(found, Skipped)}


def test_files_in_order_with_readable_ids(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    tree(root, "b.md", "a/z.md", "a/y/x.md", "c.md", "B.md")
    assert ids(root) == ["docs/B.md", "docs/a/y/x.md", "docs/a/z.md", "docs/b.md", "docs/c.md"]
    source = next(found for found in scan([root]) if isinstance(found, Source))
    assert source.path == (root / "B.md").resolve()
    assert (source.root, source.size) == (root.resolve(), 4)
    assert source.mtime_ns == source.path.stat().st_mtime_ns
    assert ids(root / "b.md") == ["b.md"]


def test_what_is_passed_over_is_told_once(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    tree(root, "a.md", ".git/config", ".git/objects/1", "node_modules/x/y.js", "__pycache__/a.pyc", ".env", ".DS_Store")
    tree(root, "venv/pyvenv.cfg", "venv/lib/x.py")
    assert ids(root) == ["docs/a.md"]
    reasons = skipped(root)
    assert set(reasons) == {".git", "node_modules", "__pycache__", ".env", "venv"}
    assert reasons["venv"].startswith("virtual environment")
    assert ids(root / ".git") == [".git/config", ".git/objects/1"]  # named, so wanted


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        list(scan([tmp_path / "nowhere"]))


@pytest.mark.skipif(os.name != "posix", reason="symbolic links")
def test_links_stay_in_the_tree_and_loops_end(tmp_path: Path) -> None:
    root = tmp_path / "docs"
    tree(root, "a.md", "sub/b.md", ".store/c.md", ".store/deep/d.md")
    tree(tmp_path, "outside/secret.md")
    links = {
        "copy.md": "a.md",
        "out": "../outside",
        "out.md": "../outside/secret.md",
        "etc": "/etc",
        "sub/up": "..",
        "sub/self": "self",
        "gone": "nothing",
        "again": "sub",
        "c.md": ".store/c.md",
        "store": ".store",
        "store2": ".store",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    assert ids(root) == ["docs/a.md", "docs/c.md", "docs/store/c.md", "docs/store/deep/d.md", "docs/sub/b.md"]
    reasons = skipped(root)
    assert "out of the tree" in reasons["out"]
    assert "out of the tree" in reasons["out.md"]
    assert "circle" in reasons["up"]
    assert reasons["copy.md"] == "symbolic link to a.md, read there"
    assert {"etc", "self", "gone", "again", "store2"} <= set(reasons)


@pytest.mark.skipif(os.name != "posix", reason="named pipes")
def test_special_and_unreadable_files_do_not_hang(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "locked.md")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "locked.md").chmod(0)
    finished = threading.Event()

    def walk() -> None:
        list(scan([tmp_path]))
        finished.set()

    threading.Thread(target=walk, daemon=True).start()
    assert finished.wait(5)
    assert "regular" in skipped(tmp_path)["pipe"]
    if os.geteuid() != 0:
        assert "permission" in skipped(tmp_path)["locked.md"]


def test_roots_with_one_name_and_roots_inside_roots(tmp_path: Path) -> None:
    tree(tmp_path, "one/docs/a.md", "two/docs/a.md", "two/docs/sub/b.md")
    one, two = tmp_path / "one/docs", tmp_path / "two/docs"
    assert ids(one, two) == ["one/docs/a.md", "two/docs/a.md", "two/docs/sub/b.md"]
    assert ids(two, two / "sub", two / "a.md", two) == ["docs/a.md", "docs/sub/b.md"]
    assert len(skipped(two, two / "sub", two / "a.md")) == 2


@pytest.mark.skipif(os.name != "posix", reason="file names of any bytes")
def test_names_that_are_no_utf8_have_ids_that_can_be_written(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.md", "w") as file:
        file.write("text")
    (source,) = [found for found in scan([tmp_path]) if isinstance(found, Source)]
    source.id.encode()
    (result,) = load_all([source])
    assert result.status == "parsed", result.reason


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 1_000_000)
    assert digest(tmp_path / "a") == hashlib.sha256(b"abc" * 1_000_000).hexdigest()


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    tree(tmp_path, "a.md", "b.md")
    sources = [found for found in scan([tmp_path]) if isinstance(found, Source)]
    (tmp_path / "a.md").unlink()
    assert [result.status for result in load_all(sources)] == ["failed", "parsed"]


# --- the shared fixtures ------------------------------------------------------------------------------------------


def fixtures() -> Path:
    given = os.environ.get("LLMKIT_DATA")
    folder = (Path(given) if given else Path(__file__).parents[2] / "shared" / "data") / "documents"
    if not folder.is_dir():
        pytest.skip(f"no fixtures at {folder}; set LLMKIT_DATA")
    return folder


UNREAD = {"fake.doc": ".docx", "doc__sources__greek_heading_styles.doc": ".docx", "test_outlook_msg.msg": ".eml"}
HELD = {  # words that each file must give, from reading it
    "unstructured/winter-sports.epub": "Winter Sports",
    "unstructured/simple.odt": "favorite things",
    "unstructured/factbook.xml": "name: Canada\ncapital: Ottawa\nleader: Justin Trudeau",
    "unstructured/fake-doc.rtf": "Column 1 | Column 2",
    "unstructured/stanley-cups.xlsx": "Team: Maple Leafs; Location: TOR; Stanley Cups: 13",
    "unstructured/pdf__list-item-example.pdf": "● What are product types?\n● What challenges",
    "docling/docx__sources__Strict.docx": "Some text",
    "docling/docx__sources__equations.docx": "a^2+b^2=c^2",
    "docling/docx__sources__docx_lists.docx": "- List item 2\n  - List item 1.1",
    "docling/jats__sources__pntd.0008301.nxml": "lymphatic filariasis",
    "docling/uspto__sources__ipa20200022300.xml": "SEED PLANTING",
    "docling/email__sources__eml_with_attachment.eml": "This is a test attachment file.",
    "docling/pptx__sources__powerpoint_sample.pptx": "Test Table Slide",
    "markitdown/RECEIPT-2024-TXN-98765_retail_purchase.pdf": "USB-C Hub 7-in-1 Adapter\nwith HDMI & Ethernet",
    "markitdown/SPARSE-2024-INV-1234_borderless_table.pdf": "SKU-9201 Hardware $32.50 $25,285.00 2024-10-22 Verified\n",
    "markitdown/movie-theater-booking-2024.pdf": "Billing Contact: accounting@premierent.com",
    "markitdown/test_notebook.ipynb": "print(42)",
    "pypdf/multilang.pdf": "こんにちは世界",
    "pypdf/toy.pdf": "",
}


def test_every_fixture_is_parsed_or_plainly_explained() -> None:
    folder = fixtures()
    found = list(scan([folder]))
    sources = [source for source in found if isinstance(source, Source)]
    results = {result.source.path: result for result in load_all(sources, Limits(max_seconds=30))}
    assert len(results) == len(sources) >= 77
    for path, result in results.items():
        if path.name in UNREAD:
            assert result.status == "unsupported"
            assert f"save it as {UNREAD[path.name]}" in result.reason
            continue
        assert result.status == "parsed", (path, result.reason)
        for document in result.documents:
            at = 0
            assert document.metadata["path"] == result.source.id
            assert document.title != path.name
            for block in document.blocks:
                assert at <= block.start < block.end <= len(document.text)
                at = block.end
    for name, words in HELD.items():
        texts = [document.text for document in results[(folder / name).resolve()].documents]
        assert any(words in text for text in texts), (name, texts[0][:500])


def test_the_words_of_a_pdf_are_those_another_reader_found() -> None:
    folder = fixtures() / "markitdown"
    for expected in sorted(folder.glob("expected_outputs__*.md")):
        pdf = next(folder.glob(expected.name.removeprefix("expected_outputs__").removesuffix(".md") + ".pdf"))
        (result,) = load_all(s for s in scan([pdf]) if isinstance(s, Source))
        (document,) = result.documents
        wanted = {word for word in expected.read_text(encoding="utf-8").replace("|", " ").split() if word.strip("-=")}
        missing = wanted - set(document.text.split())
        assert len(missing) <= 0.05 * len(wanted), missing
