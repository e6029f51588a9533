"""Runs one query of the tool ``table`` in a process of its own, which can be killed.

Not even DuckDB's own interrupt stops a function that makes one enormous text. Standard library and duckdb only; a JSON
object in, one out.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

_CELL = 200  # characters of a value that are shown
_COLUMNS = 40


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """Load the files, lock the database, and describe its tables, or give the rows of ``sql``."""
    import duckdb

    settings: dict[str, Any] = {
        "memory_limit": f"{asked['memory']}MB", "threads": 1, "temp_directory": "",
        "autoinstall_known_extensions": False, "autoload_known_extensions": False,
    }  # fmt: skip
    connection = duckdb.connect(":memory:", config=settings)
    tables = []
    for name in asked["files"]:
        table = "".join(char if char.isalnum() else "_" for char in Path(name).stem)
        try:
            read = connection.read_csv(name)
            read.project(", ".join(_renamed(read.columns))).create(table)
        except duckdb.Error as error:
            return {"error": f"{name} cannot be read as CSV: {str(error).splitlines()[0]}"}
        columns = connection.execute(f'DESCRIBE "{table}"').fetchall()
        tables.append(f"{table}({', '.join(f'{one[0][:40]} {one[1]}' for one in columns[:_COLUMNS])})")
    if asked["sql"] is None:
        return {"tables": tables}
    connection.execute("SET enable_external_access = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
    try:
        statements = connection.extract_statements(asked["sql"])
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            return {"error": "only one SELECT statement is answered"}
        found = connection.execute(statements[0])
        head = [column[0] for column in found.description or ()]
        values = found.fetchmany(asked["rows"] + 1)
    except duckdb.Error as error:
        return {"error": str(error).splitlines()[0][:500]}
    return {"head": head, "rows": [[_cell(value) for value in row] for row in values]}


def _renamed(columns: list[str]) -> list[str]:
    """Columns under names of letters, digits and ``_``: ``"Item Name" AS "item_name"``."""
    new: list[str] = []
    for column in columns:
        word = "".join(char.lower() if char.isalnum() else "_" for char in column).strip("_")[:40] or "column"
        new.append(word if word not in new else f"{word}_{len(new)}")
    return ['"{}" AS "{}"'.format(old.replace('"', '""'), name) for old, name in zip(columns, new, strict=True)]


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    text = "" if value is None else str(value)
    cut = " ".join(text[: 2 * _CELL].split())
    return cut if len(text) <= _CELL else f"{cut[:_CELL]}…"


def main() -> None:
    """Answer what stands on the standard input, within the memory it names."""
    asked = json.load(sys.stdin)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, ((asked["memory"] << 20) + (2 << 30),) * 2)
    try:
        said = answer(asked)
    except MemoryError:
        said = {"error": "it takes more memory than it may"}
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
