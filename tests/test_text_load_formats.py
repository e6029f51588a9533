"""Every format, from tiny files made here: text, blocks, title, metadata."""

from __future__ import annotations

import email.message
import gzip
import io
import json
import time
import zipfile
from pathlib import Path

import pytest

from llmkit.errors import DataError
from llmkit.text.loading.load_files import load
from llmkit.types import Document


def one(path: Path) -> Document:
    documents = load(path)
    assert len(documents) == 1
    document = documents[0]
    at = 0
    for block in document.blocks:
        assert at <= block.start < block.end <= len(document.text)
        at = block.end
    return document


def texts(document: Document, kind: str) -> list[str]:
    return [document.text[block.start : block.end] for block in document.blocks if block.kind == kind]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_text_is_verbatim_with_its_paragraphs(tmp_path: Path) -> None:
    source = "\ufeffFirst line\r\nsecond line\r\n\r\n  Another paragraph.\r\n"
    document = one(write(tmp_path / "a.txt", source))
    assert document.text == source[1:]
    assert texts(document, "paragraph") == ["First line\r\nsecond line", "Another paragraph."]
    assert (document.id, document.title, document.metadata["type"]) == ("a.txt", "", "text")


def test_a_line_of_nothing_but_spaces_takes_linear_time(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert texts(one(write(tmp_path / "a.txt", "a\n" + " " * 1_000_000 + "\n  b")), "paragraph") == ["a", "b"]
    assert time.monotonic() - begun < 20


def test_markdown_is_verbatim_with_headings_tables_and_code(tmp_path: Path) -> None:
    source = (
        "---\ntitle: From the front\ndate: 2024-05-06\n---\n# The *Manual*\n\nIntro.\n\n## Parts\n\n"
        "- a\n- b\n\n| x | y |\n|---|---|\n| 1 | 2 |\n\n```py\nf()\n\ng()\n```\n\n> said\n"
    )
    document = one(write(tmp_path / "a.md", source))
    assert document.text == source
    assert document.title == "From the front"
    assert document.metadata["date"] == "2024-05-06"
    assert texts(document, "heading") == ["# The *Manual*", "## Parts"]
    assert texts(document, "list") == ["- a\n- b"]
    assert texts(document, "table") == ["| x | y |\n|---|---|\n| 1 | 2 |"]
    assert texts(document, "code") == ["```py\nf()\n\ng()\n```"]
    assert texts(document, "quote") == ["> said"]
    assert document.blocks[-1].heading == ("The Manual", "Parts")


def test_markdown_title_is_the_first_heading_and_never_the_file_name(tmp_path: Path) -> None:
    assert one(write(tmp_path / "a.md", "# Real title\n\ntext")).title == "Real title"
    assert one(write(tmp_path / "b.md", "just text")).title == ""


def test_html_reads_as_the_page_does(tmp_path: Path) -> None:
    page = """<!doctype html><html><head><title>Pumps &amp; Valves</title>
    <meta name="author" content="Ada"><meta property="article:published_time" content="2023-02-03T10:00:00Z">
    <style>p{}</style></head><body><nav>Home</nav><h1>Pumps</h1><p>One <b>bold</b>
    word.<br>Next.</p><script>alert(1)</script><ol><li>first<ul><li>inner</li></ul></li><li>second</li></ol>
    <table><tr><th>Name</th><th>Bar</th></tr><tr><td rowspan=2>P1</td><td>3</td></tr><tr><td>4</td></tr></table>
    <pre><code>x = 1
    y = 2</code></pre><p hidden>secret</p></body></html>"""
    document = one(write(tmp_path / "a.html", page))
    assert document.title == "Pumps & Valves"
    assert document.metadata["author"] == "Ada"
    assert document.metadata["date"] == "2023-02-03"
    assert texts(document, "paragraph") == ["One bold word.\nNext."]
    assert texts(document, "list") == ["1. first\n  - inner\n2. second"]
    assert texts(document, "table") == ["Name | Bar\nP1 | 3\nP1 | 4"]
    assert texts(document, "code") == ["x = 1\n    y = 2"]
    assert not any(word in document.text for word in ("alert", "Home", "secret", "p{}"))
    assert any("navigation" in note and "script" in note for note in document.notes)


def test_html_in_its_declared_encoding(tmp_path: Path) -> None:
    page = '<html><head><meta charset="shift_jis"><title>試験</title></head><body><p>日本語の文章</p></body></html>'
    document = one(write(tmp_path / "a.html", page.encode("shift_jis")))
    assert (document.title, document.text) == ("試験", "日本語の文章")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_keeps_each_value_with_its_header(tmp_path: Path, delimiter: str) -> None:
    rows = [["Name", "Pressure", "Note"], ["P1", "3", "a, b; c | d"], ["P2", "4", ""]]
    content = "\n".join(delimiter.join(f'"{cell}"' for cell in row) for row in rows)
    document = one(write(tmp_path / "a.csv", content))
    assert texts(document, "row") == ["Name: P1; Pressure: 3; Note: a, b; c | d", "Name: P2; Pressure: 4"]


def test_long_csv_records_stand_a_pair_a_line(tmp_path: Path) -> None:
    document = one(write(tmp_path / "a.csv", f"Name,Story\nP1,{'word ' * 60}\n"))
    assert texts(document, "row") == [f"Name: P1\nStory: {('word ' * 60).strip()}"]


def test_csv_without_a_header_says_so(tmp_path: Path) -> None:
    document = one(write(tmp_path / "a.csv", "1,2\n3,4\n"))
    assert texts(document, "row") == ["1 | 2", "3 | 4"]
    assert "no header row found" in document.notes


def test_jsonl_rows_are_documents_verbatim(tmp_path: Path) -> None:
    rows = [
        {"id": 7, "title": "T", "text": "  kept as it is\n", "year": 1999, "tags": ["a"]},
        {"_id": "x", "text": "second", "metadata": {"url": "u"}},
        {"text": "no id"},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)))
    documents = load(path, id="src")
    assert [d.id for d in documents] == ["7", "x", "src:3"]
    assert documents[0].text == "  kept as it is\n"
    assert documents[0].title == "T"
    assert documents[0].metadata == {"path": "src", "type": "jsonl", "year": 1999, "tags": ["a"]}
    assert documents[1].metadata["url"] == "u"
    packed = write(tmp_path / "a.jsonl.gz", gzip.compress(path.read_bytes()))
    assert [d.text for d in load(packed)] == [d.text for d in documents]


def test_jsonl_reports_the_lines_it_leaves_out(tmp_path: Path) -> None:
    lines = ['{"id":1,"text":"good"}', "not json", '{"id":2}', '{"id":1,"text":"again"}', '{"id":3,"text":" "}', "[1]"]
    lines += ['{"id":4,"text":"\\ud800"}', "[" * 100_000, '{"id":5,"text":"fine"}']
    documents = load(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert [d.id for d in documents] == ["1", "5"]
    note = documents[0].notes[-1]
    assert note.startswith("7 rows left out: line 2: not JSON")
    assert "line 3: no 'text'" in note


def test_jsonl_without_a_text_key_is_rendered(tmp_path: Path) -> None:
    rows = [{"question": "Why?", "answers": ["a", "b"]}, {"question": "How?", "answers": []}]
    documents = load(write(tmp_path / "q.jsonl", "\n".join(map(json.dumps, rows))), id="src")
    assert [(d.id, d.text) for d in documents] == [
        ("src:1", "question: Why?\nanswers: a, b"),
        ("src:2", "question: How?"),
    ]


def test_json_array_of_texts_is_rows_and_other_json_is_rendered(tmp_path: Path) -> None:
    array = load(write(tmp_path / "a.json", json.dumps([{"id": "a", "text": "one"}, {"id": "b", "text": "two"}, {}])))
    assert [(d.id, d.text) for d in array] == [("a", "one"), ("b", "two")]
    assert "1 rows left out: row 3" in array[0].notes[0]
    value = {"title": "T", "pump": {"bar": 3, "parts": [{"n": 1}, {"n": 2}], "tags": ["x", "y"]}, "ok": True}
    document = one(write(tmp_path / "b.json", json.dumps(value)))
    assert (
        document.text == "title: T\n\npump.bar: 3\npump.parts[0].n: 1\npump.parts[1].n: 2\npump.tags: x, y\n\nok: true"
    )
    assert document.title == "T"


def test_code_is_cut_at_definitions(tmp_path: Path) -> None:
    source = "import os\n\n\ndef f():\n    a = 1\n\n    return a\n\n\nclass C:\n    pass\n"
    document = one(write(tmp_path / "a.py", source))
    assert document.text == source
    assert document.metadata["language"] == "python"
    assert texts(document, "code") == ["import os", "def f():\n    a = 1\n\n    return a", "class C:\n    pass"]


def test_notebook_cells(tmp_path: Path) -> None:
    book = {
        "nbformat": 4,
        "metadata": {"kernelspec": {"language": "python"}},
        "cells": [
            {"cell_type": "markdown", "source": ["# Title\n", "\n", "Prose."]},
            {
                "cell_type": "code",
                "source": "x = 1\nprint(x)",
                "outputs": [
                    {"output_type": "stream", "text": ["1\n"]},
                    {"output_type": "display_data", "data": {"image/png": "…"}},
                ],
            },
        ],
    }
    document = one(write(tmp_path / "a.ipynb", json.dumps(book)))
    assert document.title == "Title"
    assert texts(document, "code") == ["x = 1\nprint(x)", "Output:\n1"]
    assert [block.part for block in document.blocks] == ["cell 1", "cell 1", "cell 2", "cell 2"]
    assert document.notes == ("1 output without text, or too long, left out or cut",)


def test_mail_with_two_bodies_and_attachments(tmp_path: Path) -> None:
    message = email.message.EmailMessage()
    message["Subject"], message["From"], message["To"] = "Grüße", "a@x.org", "b@x.org"
    message["Date"] = "Tue, 05 Mar 2024 10:00:00 +0100"
    message.set_content("Plain body.\n\nSecond paragraph.")
    message.add_alternative("<p>HTML body</p>", subtype="html")
    message.add_attachment("n,v\na,1\nb,2\n", subtype="csv", filename="t.csv")
    message.add_attachment(b"\x89PNG\r\n\x1a\n\0\0", maintype="image", subtype="png", filename="p.png")
    document = one(write(tmp_path / "a.eml", message.as_bytes()))
    assert document.title == "Grüße"
    assert (document.metadata["from"], document.metadata["date"]) == ("a@x.org", "2024-03-05")
    assert document.text == "Plain body.\n\nSecond paragraph.\n\nn: a; v: 1\nn: b; v: 2"
    assert [block.part for block in document.blocks] == [None, None, "t.csv", "t.csv"]
    assert any("p.png" in note and "image" in note for note in document.notes)


def test_docx(tmp_path: Path) -> None:
    import docx

    made = docx.Document()
    made.core_properties.title = "The Contract"
    made.sections[0].header.paragraphs[0].text = "CONFIDENTIAL"
    made.add_heading("Scope", 1)
    made.add_paragraph("All pumps.")
    made.add_paragraph("one", style="List Bullet")
    made.add_paragraph("two", style="List Bullet")
    table = made.add_table(2, 2)
    for cell, text in zip((c for row in table.rows for c in row.cells), "ABCD", strict=True):
        cell.text = text
    made.add_heading("Terms", 2)
    made.add_paragraph("End.")
    made.save(tmp_path / "a.docx")
    document = one(tmp_path / "a.docx")
    assert document.title == "The Contract"
    assert document.text == "Scope\n\nAll pumps.\n\n- one\n- two\n\nA | B\nC | D\n\nTerms\n\nEnd."
    assert document.blocks[-1].heading == ("Scope", "Terms")
    assert "1 header or footer left out" in document.notes


def test_strict_docx_is_read(tmp_path: Path) -> None:
    import docx

    made = docx.Document()
    made.add_paragraph("strictly speaking")
    buffer = io.BytesIO()
    made.save(buffer)
    with zipfile.ZipFile(buffer) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name in members:
        for old, new in (
            (b"http://schemas.openxmlformats.org/officeDocument/2006/", b"http://purl.oclc.org/ooxml/officeDocument/"),
            (
                b"http://schemas.openxmlformats.org/wordprocessingml/2006/",
                b"http://purl.oclc.org/ooxml/wordprocessingml/",
            ),
        ):
            members[name] = members[name].replace(old, new)
    document = one(zipped(tmp_path / "a.docx", members))
    assert document.text == "strictly speaking"


def test_pptx(tmp_path: Path) -> None:
    import pptx

    deck = pptx.Presentation()
    slide = deck.slides.add_slide(deck.slide_layouts[1])
    slide.shapes.title.text = "Plan"
    slide.placeholders[1].text = "first\nsecond"
    slide.notes_slide.notes_text_frame.text = "say hello"
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Figures"
    table = slide.shapes.add_table(2, 2, 0, 0, 100, 100).table
    for i, text in enumerate("ABCD"):
        table.cell(i // 2, i % 2).text = text
    deck.save(str(tmp_path / "a.pptx"))
    document = one(tmp_path / "a.pptx")
    assert document.title == "Plan"
    assert document.text == "Plan\n\n- first\n- second\n\nNotes: say hello\n\nFigures\n\nA | B\nC | D"
    assert [block.page for block in document.blocks] == [1, 1, 1, 2, 2]


def test_xlsx(tmp_path: Path) -> None:
    import datetime

    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Orders"
    sheet.append(["All orders"])
    sheet.append(["Item", "Count", "When"])
    sheet.append(["Bolt", 12.0, datetime.datetime(2024, 1, 2)])
    sheet.append(["Nut", None, None])
    sheet.merge_cells("A1:C1")
    other = book.create_sheet("Sheet2")
    other.append(["a", "b"])
    other.append([1, "=A2*2"])
    book.save(tmp_path / "a.xlsx")
    document = one(tmp_path / "a.xlsx")
    assert texts(document, "row") == ["Item: Bolt; Count: 12; When: 2024-01-02", "Item: Nut", "a: 1"]
    assert texts(document, "heading") == ["Orders"]
    assert [block.part for block in document.blocks] == ["Orders"] * 4 + ["Sheet2"]
    assert any("1 formula without a saved value" in note for note in document.notes)


def test_epub_in_spine_order(tmp_path: Path) -> None:
    page = "<html xmlns='http://www.w3.org/1999/xhtml'><head><title>x</title></head><body>{}</body></html>"
    path = zipped(
        tmp_path / "a.epub",
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": "<container><rootfiles><rootfile full-path='OPS/p.opf'/></rootfiles></container>",
            "OPS/p.opf": """<package xmlns:dc='http://purl.org/dc/elements/1.1/'><metadata><dc:title>Book</dc:title>
              <dc:creator>Ann</dc:creator><dc:date>2001-02-03</dc:date></metadata><manifest>
              <item id='a' href='a.xhtml' media-type='application/xhtml+xml'/>
              <item id='b' href='b%20b.xhtml' media-type='application/xhtml+xml'/></manifest>
              <spine><itemref idref='b'/><itemref idref='a'/></spine></package>""",
            "OPS/a.xhtml": page.format("<h1>Two</h1><p>Second chapter.</p>"),
            "OPS/b b.xhtml": page.format("<h1>One</h1><p>First chapter.</p>"),
        },
    )
    document = one(path)
    assert document.text == "One\n\nFirst chapter.\n\nTwo\n\nSecond chapter."
    assert (document.title, document.metadata["author"], document.metadata["date"]) == ("Book", "Ann", "2001-02-03")
    assert [block.part for block in document.blocks] == ["One", "One", "Two", "Two"]


def test_odt(tmp_path: Path) -> None:
    content = """<office:document-content xmlns:office='urn:oasis:names:tc:opendocument:xmlns:office:1.0'
      xmlns:text='urn:oasis:names:tc:opendocument:xmlns:text:1.0'
      xmlns:table='urn:oasis:names:tc:opendocument:xmlns:table:1.0'><office:body><office:text>
      <text:h text:outline-level='1'>Head</text:h><text:p>A<text:s text:c='2'/>b</text:p>
      <text:list><text:list-item><text:p>item</text:p></text:list-item></text:list>
      <table:table><table:table-row><table:table-cell><text:p>x</text:p></table:table-cell>
      <table:table-cell><text:p>y</text:p></table:table-cell></table:table-row></table:table>
      </office:text></office:body></office:document-content>"""
    members = {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": content}
    document = one(zipped(tmp_path / "a.odt", members))
    assert document.text == "Head\n\nA  b\n\n- item\n\nx | y"
    assert document.metadata["type"] == "odt"


def test_xml_prose_and_data(tmp_path: Path) -> None:
    article = "<article><title>Fish</title><sec><title>Fins</title><p>They <i>swim</i>.</p></sec></article>"
    document = one(write(tmp_path / "a.xml", article))
    assert document.text == "Fish\n\nFins\n\nThey swim."
    assert document.blocks[-1].heading == ("Fish", "Fins")
    data = "<?xml version='1.0'?><l><c><n>A</n><v>1</v></c><c><n>B</n><v>2</v></c></l>"
    assert texts(one(write(tmp_path / "b.xml", data)), "row") == ["n: A\nv: 1", "n: B\nv: 2"]
    broken = b"<?xml version='1.0' encoding='UTF-8'?><l><p>caf\xe9 first</p><p>second</p></l>"
    document = one(write(tmp_path / "d.xml", broken))
    assert document.text == "café first\n\nsecond"
    assert "not well-formed" in document.notes[0]
    attributes = "<?xml version='1.0'?><l><c name='x' v='1'/></l>"
    assert one(write(tmp_path / "c.xml", attributes)).text == "c: name: x; v: 1"


def test_rtf(tmp_path: Path) -> None:
    document = one(write(tmp_path / "a.rtf", r"{\rtf1\ansi {\b Title\par} caf\'e9 text\par}"))
    assert document.text == "Title\n\ncafé text"


def pdf(pages: list[list[str]], info: str = "", extra: str = "") -> bytes:
    """A PDF of lines of text, written by hand."""
    objects = ["<< /Type /Catalog /Pages 2 0 R >>"]
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(len(pages)))
    objects.append(f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>")
    objects.append("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>")
    for i, lines in enumerate(pages):
        shown = "".join(f"1 0 0 1 50 {780 - 14 * n} Tm ({line}) Tj\n" for n, line in enumerate(lines))
        stream = f"BT /F1 10 Tf\n{shown}ET"
        resources = "/Resources << /Font << /F1 3 0 R >> >>"
        objects.append(f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] {resources} /Contents {5 + 2 * i} 0 R >>")
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    if info:
        objects.append(info)
    out = b"%PDF-1.4\n"
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    trailer = f"/Size {len(objects) + 1} /Root 1 0 R {f'/Info {len(objects)} 0 R' if info else ''} {extra}"
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}trailer << {trailer} >>\n".encode()
    return out + f"startxref\n{out.rfind(b'xref')}\n%%EOF".encode()


def test_pdf_pages_joined_lines_and_metadata(tmp_path: Path) -> None:
    wrapped = [
        "The pump must be drained before any winter in which frost is",
        "expected, because water that freezes in the housing will break it.",
        "Bolt 12 30.00",
        "Nut 9 12.50",
    ]
    info = "<< /Title (Pump manual) /Author (Ada) /CreationDate (D:20240203101112Z) >>"
    document = one(write(tmp_path / "a.pdf", pdf([wrapped, [], ["Second page."]], info)))
    assert texts(document, "paragraph") == [
        "The pump must be drained before any winter in which frost is "
        "expected, because water that freezes in the housing will break it.",
        "Bolt 12 30.00\nNut 9 12.50",
        "Second page.",
    ]
    assert [block.page for block in document.blocks] == [1, 1, 3]
    assert (document.title, document.metadata["author"]) == ("Pump manual", "Ada")
    assert (document.metadata["date"], document.metadata["pages"]) == ("2024-02-03", 3)
    assert "1 page without text (scanned or blank): 2" in document.notes


def test_a_scanned_pdf_is_empty_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 pages without a text layer.*OCR"):
        load(write(tmp_path / "a.pdf", pdf([[], []])))


def test_kind_is_told_by_content(tmp_path: Path) -> None:
    document = one(write(tmp_path / "a.pdf", "<!DOCTYPE html><html><body><p>Not found</p></body></html>"))
    assert document.metadata["type"] == "html"
    assert document.notes[0] == "named .pdf, but holds html"
    assert one(write(tmp_path / "b.txt", pdf([["Hi there."]]))).metadata["type"] == "pdf"
    assert one(write(tmp_path / "Makefile", "all:\n\techo\n")).metadata["language"] == "make"
    assert one(write(tmp_path / "run", "#!/usr/bin/env python3\nprint(1)\n")).metadata["language"] == "python"
    assert (
        one(write(tmp_path / "n.json", '{"nbformat": 4, "cells": [{"cell_type": "raw", "source": "r"}]}')).text == "r"
    )
    assert one(write(tmp_path / "a.csv.gz", gzip.compress(b"a,b\nx,1\n"))).text == "a: x; b: 1"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("吾輩は猫である。名前はまだ無い。", "shift_jis"),
        ("吾輩は猫である。名前はまだ無い。", "euc_jp"),
        ("吾輩は猫である。名前はまだ無い。", "iso2022_jp"),
        ("吾輩は猫である。名前はまだ無い。", "utf-16"),
        ("吾輩は猫である。名前はまだ無い。\n", "utf-16-be"),
        ("人人生而自由，在尊严和权利上一律平等。", "gb18030"),
        ("모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.", "euc_kr"),
        ("Größe über Straße, “gut” – 5 €", "cp1252"),
        ("café", "cp1252"),
        ("plain ASCII, two bytes each", "utf-16-le"),
        ("four bytes each", "utf-32-be"),
        ("Все люди рождаются свободными и равными", "cp1251"),
    ],
)
def test_encodings(tmp_path: Path, text: str, encoding: str) -> None:
    document = one(write(tmp_path / "a.txt", text.encode(encoding)))
    assert document.text == text
    if encoding not in ("utf-16",):
        assert any("encoding guessed" in note for note in document.notes)


def test_nul_characters_become_spaces_and_are_said(tmp_path: Path) -> None:
    document = one(write(tmp_path / "a.txt", "some words\0and" + " more words of a text" * 20))
    assert "\0" not in document.text
    assert any("NUL" in note for note in document.notes)
