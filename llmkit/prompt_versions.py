"""Versions of prompts on disk: the next one, and the lock that holds what each of them was."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llmkit import prompts
from llmkit.errors import PromptError


def new_version(ref: str, folder: Path) -> Path:
    """Copy a prompt to the next version of its name, below `folder`, its parent named in the head; for editing.

    A version that was changed after it was locked is copied as it now is: this is how such a change is kept.

    Raises:
        PromptError: no such prompt, or the file cannot be written.
    """
    source = prompts.path_of(ref)
    prompt = prompts.read(source, source.parent.name or "prompt", source.stem)
    target = folder / prompt.name / f"{next_version(prompt.name, folder)}.md"
    text = source.read_bytes().decode("utf-8").replace("\r\n", "\n")
    _, head, body = prompts.MARK.split(text, 2)
    # where the copy comes from is another thing than where its parent came from
    head = re.sub(r"^(?:parent|lineage):.*\n(?:[ \t]+.*\n)*", "", head, flags=re.MULTILINE)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8", newline="\n") as file:
            file.write(f"---\n{head}parent: {prompt.ref}\n---\n{body}")
    except OSError as error:
        raise PromptError(f"{target} cannot be written: {error}") from error
    return target


def next_version(name: str, folder: Path) -> str:
    """The first free version of a prompt, in `folder` and in whatever folders the others are."""
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


def locked(folder: Path) -> dict[str, str]:
    """What the folder's lock holds; nothing where there is none."""
    file = folder / prompts.LOCK
    found: dict[str, str] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return found


def lock_one(folder: Path, path: Path) -> None:
    """Add one version to the folder's lock; what is locked already stays as it is."""
    file, before = folder / prompts.LOCK, locked(folder)
    prompt = prompts.read(path, path.parent.name, path.stem)
    fresh = file.with_name(f"{prompts.LOCK}.tmp")
    fresh.write_text(json.dumps({**before, prompt.ref: prompt.digest}, indent=2) + "\n", encoding="utf-8")
    fresh.replace(file)
