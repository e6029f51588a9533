"""Hostile clients: bad input causes no 5xx, and no file is written outside the data folder."""

from __future__ import annotations

import io
import random
import zipfile

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving import knowledge, running

pytestmark = [pytest.mark.network]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    knowledge(folder / "kb")
    with running(folder, "It is August [1].", max_files=100_000) as served:
        served.folder = folder
        yield served


@pytest.mark.slow
def test_requests_inside_and_outside_the_schema_cause_no_5xx(served):
    schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install 'llmkit[dev]'")
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json")
    seen: dict[str, int] = {}
    for result in schema.get_all_operations():
        operation = result.ok()

        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):

            @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def attack(case):
                reply = case.call(base_url=served.url)
                assert reply.status_code < 500, (case.method, case.path, reply.status_code, reply.text)
                seen[case.path] = seen.get(case.path, 0) + 1

            try:
                attack()
            except Exception as error:
                if type(error).__name__ not in ("Unsatisfiable", "SkipTest", "InvalidArgument"):
                    raise
    assert len(seen) >= 15, seen
    assert served.http.get("/healthz").status_code == 200


text = st.text(max_size=60)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda x: st.lists(x, max_size=3) | st.dictionaries(text, x, max_size=3),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    path=st.sampled_from(
        ["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/api/knowledge/search", "/api/feedback",
         "/api/knowledge/forget", "/api/sessions/x/turns"]
    ),
    body=st.dictionaries(
        st.sampled_from("model messages input stream question query k where documents trace rating tools n encoding_format".split()) | text,
        value | st.just("quote") | st.just([{"role": "user", "content": "When?"}]), max_size=5,
    ) | st.binary(max_size=80),
)  # fmt: skip
def test_any_json_and_any_bytes_are_answered(served, path, body):
    import json

    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = served.http.post(path, content=content, headers={"Content-Type": "application/json"})
    assert reply.status_code < 500, (path, body, reply.text)


def _docx() -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<w:document>" + "A" * 10_000_000)
        archive.writestr("../../../../tmp/llmkit-escaped", "x")
    return made.getvalue()


HOSTILE = [
    ("../../../escaped.txt", b"I am outside."), ("..\\..\\escaped.txt", b"I am outside."), ("/etc/cron.d/x", b"* * * * *"),
    ("a.docx", _docx()), ("b.pdf", b"%PDF-1.7\n" + random.Random(0).randbytes(20_000)), ("c.zip", b"PK\x03\x04" + b"\0" * 50),
    ("d.xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'), ("e.html", b"<script>" * 20_000),
    ("f.json", b"[" * 100_000), ("g.csv", b'"' * 50_000), ("h.eml", b"From: x\nContent-Type: multipart/mixed; boundary=b\n\n--b"),
    ("i" * 5000 + ".txt", b"A long name."), (".hidden", b"Hidden."), ("j.txt", bytes(range(256)) * 20), ("k.md", b"---\na: &a [*a]\n---\n"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content"), HOSTILE, ids=lambda v: v[:12] if isinstance(v, str) else "")
def test_hostile_files_are_read_or_reported(served, name, content):
    reply = served.upload(name, content)
    assert reply.status_code in (202, 400, 422), reply.text
    if reply.status_code == 202:
        served.until(lambda: all(one["status"] not in ("waiting", "reading") for one in served.files()), 60)
    assert served.http.get("/readyz").status_code == 200
    inside = {path for path in served.folder.rglob("*") if "escaped" in path.name}
    assert all(path.is_relative_to(served.folder / "serve" / "files" / "uploads") for path in inside)
    assert "root:" not in served.http.post("/api/knowledge/search", json={"query": "root", "k": 100}).text


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=300), st.sampled_from(["x", "\r\n", "a b", "--", '"', "x" * 200]))
def test_any_multipart_body_is_answered(served, body, boundary):
    quoted = boundary.replace("\r\n", "").replace('"', "") or "x"
    for content in (body, b"--" + quoted.encode() + b"\r\n" + body, b""):
        head = {"Content-Type": f"multipart/form-data; boundary={quoted}"}
        reply = httpx.post(f"{served.url}/api/knowledge/files", content=content, headers=head)
        assert reply.status_code < 500, (content, reply.text)
