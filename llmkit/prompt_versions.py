"""Versions of prompts on disk: how to make the next one, and the lock file with the digest of each."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llmkit import prompts
from llmkit.errors import PromptError


def new_version(ref: str, folder: Path) -> Path:
    """Copy a prompt to its next version below `folder`, for editing. The head of the copy names its parent.

    A version that was edited after it was locked is copied with the edit, so that the edit is not lost.

    Raises:
        PromptError: there is no such prompt, or the file cannot be written.
    """
    source = prompts.path_of(ref)
    prompt = prompts.read(source, source.parent.name or "prompt", source.stem)
    target = folder / prompt.name / f"{next_version(prompt.name, folder)}.md"
    text = source.read_bytes().decode("utf-8").replace("\r\n", "\n")
    _, head, body = prompts.MARK.split(text, 2)
    # the origin of the parent is not the origin of the copy
    head = re.sub(r"^(?:parent|lineage):.*\n(?:[ \t]+.*\n)*", "", head, flags=re.MULTILINE)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(f"---\n{head}parent: {prompt.ref}\n---\n{body}")
    except OSError as error:
        raise PromptError(f"{target} cannot be written: {error}") from error
    return target


def next_version(name: str, folder: Path) -> str:
    """The version after the highest one of a prompt, in `folder` and in all prompt folders."""
    here = [path.stem for path in (folder / name).glob("v*.md") if path.stem[1:].isdigit()]
    return f"v{max((int(version[1:]) for version in (*prompts.versions(name), *here)), default=0) + 1}"


def lock(folder: Path) -> dict[str, str]:
    """Write ``LOCK.json`` for every prompt below `folder`: ``{"answer@v1": sha256}``.

    Raises:
        PromptError: a prompt cannot be read; nothing is written.
    """
    digests = {
        f"{path.parent.name}@{path.stem}": prompts.read(path, path.parent.name, path.stem).digest
        for path in sorted(folder.glob("*/v*.md"))
    }
    (folder / prompts.LOCK).write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
    return digests


def read_lock(folder: Path) -> dict[str, str]:
    """The digests in the lock file of a folder, by reference; empty if there is no lock file."""
    file = folder / prompts.LOCK
    digests: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return digests


def lock_one(folder: Path, path: Path) -> None:
    """Add one version to the lock file of a folder; the other entries stay."""
    file, before = folder / prompts.LOCK, read_lock(folder)
    prompt = prompts.read(path, path.parent.name, path.stem)
    fresh = file.with_name(f"{prompts.LOCK}.tmp")
    fresh.write_text(json.dumps({**before, prompt.ref: prompt.digest}, indent=2) + "\n", encoding="utf-8")
    fresh.replace(file)
