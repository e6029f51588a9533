"""JSON values in words: a line a value, each with the path to it."""

from __future__ import annotations

from collections.abc import Iterator

from llmkit.text.formats.draft import Draft
from llmkit.text.formats.tabular.tables import as_text
from llmkit.types import Json

_MAX_LINES = 2_000_000


def render(draft: Draft, value: Json) -> None:
    """Add `value` to the draft, a block for each member of the outermost object or list."""
    if isinstance(value, dict) and any(_nested(member) for member in value.values()):
        for key, member in value.items():
            _add(draft, member, str(key))
    elif isinstance(value, list) and any(_nested(member) for member in value):
        for i, member in enumerate(value):
            _add(draft, member, f"[{i}]")
    else:
        _add(draft, value, "")


def _nested(value: Json) -> bool:
    if isinstance(value, list):
        return any(isinstance(member, (dict, list)) for member in value)
    return isinstance(value, dict)


def _add(draft: Draft, value: Json, path: str) -> None:
    lines = []
    for where, leaf in leaves(value, path):
        text = as_text(leaf).strip()
        if text:
            lines.append(f"{where}: {text}" if where else text)
        if len(lines) > _MAX_LINES:
            draft.note(f"values beyond the first {_MAX_LINES:,} left out")
            break
    draft.add("\n".join(lines), "row")


def leaves(value: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Every value that is neither an object nor a list, with its path; lists of plain values are one value."""
    stack: list[tuple[str, Json]] = [(path, value)]
    while stack:
        where, item = stack.pop()
        if isinstance(item, dict):
            stack.extend((f"{where}.{key}" if where else str(key), member) for key, member in reversed(item.items()))
        elif isinstance(item, list):
            if all(not isinstance(member, (dict, list)) for member in item):
                yield where, ", ".join(as_text(member) for member in item)
            else:
                stack.extend((f"{where}[{i}]", member) for i, member in reversed(list(enumerate(item))))
        else:
            yield where, item
