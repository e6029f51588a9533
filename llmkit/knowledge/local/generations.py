"""The generations of a catalogue: their list, what lies between two of them, and which one a date means."""

from __future__ import annotations

from datetime import UTC, datetime

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.store import Diff, Generation


def log(catalog: Catalog) -> list[Generation]:
    """Every generation, oldest first. Documents that were purged are not counted."""
    born = dict(catalog.rows("SELECT born, count(*) FROM documents GROUP BY born"))
    died = dict(catalog.rows("SELECT died, count(*) FROM documents WHERE died IS NOT NULL GROUP BY died"))
    first = oldest(catalog)
    return [
        Generation(number, at, note, number >= first, born.get(number, 0), died.get(number, 0))
        for number, at, note in catalog.rows("SELECT id, at, note FROM generations ORDER BY id")
    ]


def diff(catalog: Catalog, a: int | str, b: int | str) -> Diff:
    """Documents that were added, removed and changed from generation `a` to generation `b`."""
    before, after = (live(catalog, resolve(catalog, which)) for which in (a, b))
    return Diff(
        added=tuple(sorted(set(after) - set(before))),
        removed=tuple(sorted(set(before) - set(after))),
        changed=tuple(sorted(name for name in set(before) & set(after) if before[name][1] != after[name][1])),
    )


def live(catalog: Catalog, generation: int) -> dict[str, tuple[int, str]]:
    """Seq and version of every document of a generation, by id."""
    found = catalog.rows(
        "SELECT id, seq, version FROM documents WHERE born <= ? AND (died IS NULL OR died > ?)",
        (generation, generation),
    )
    return {name: (seq, version) for name, seq, version in found}


def oldest(catalog: Catalog) -> int:
    """The oldest generation that can still be opened."""
    return int(catalog.meta().get("oldest", 0))


def resolve(catalog: Catalog, as_of: int | str) -> int:
    """The generation of a number, or the last one at a date or time (ISO; UTC unless it says otherwise).

    Raises:
        KnowledgeError: there is none, or it was compacted away.
    """
    text = str(as_of).strip()
    generation = int(text) if text.isdigit() else _at(catalog, text)
    last, first = catalog.generation(), oldest(catalog)
    if generation > last:
        year = f"; the end of the year is written {text}-12-31" if len(text) == 4 else ""
        raise KnowledgeError(f"{catalog.path.parent} has no generation {generation}: the last is {last}{year}")
    if generation < first:
        raise KnowledgeError(
            f"{catalog.path.parent} cannot show generation {generation}: it was compacted, the oldest kept is {first}"
        )
    return generation


def _at(catalog: Catalog, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise KnowledgeError(f"{text!r} is neither a generation nor a date: write 12, 2026-03-01 or a time") from error
    if len(text) <= 10:
        moment = moment.replace(hour=23, minute=59, second=59)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    found = [
        number
        for number, at in catalog.rows("SELECT id, at FROM generations ORDER BY id")
        if datetime.fromisoformat(at) <= moment
    ]
    if not found:
        raise KnowledgeError(f"{catalog.path.parent} has no generation at {text}: the first is later")
    return int(found[-1])
