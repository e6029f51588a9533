"""Runs one query of the tool ``table`` in a separate process, which can be killed.

DuckDB's interrupt does not stop a function that builds one enormous text. The worker reads a JSON object from its
standard input and writes one to its standard output. It uses the standard library and duckdb only.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

_MAX_CELL = 200  # characters of a value
_MAX_COLUMNS = 40  # columns of a table in the description


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Load the files and lock the database; return the rows of ``sql``, or a description of the tables without it."""
    import duckdb

    settings: dict[str, Any] = {
        "memory_limit": f"{job['memory']}MB", "threads": 1, "temp_directory": "",
        "autoinstall_known_extensions": False, "autoload_known_extensions": False,
    }  # fmt: skip
    connection = duckdb.connect(":memory:", config=settings)
    tables = []
    for name in job["files"]:
        table = "".join(char if char.isalnum() else "_" for char in Path(name).stem)
        try:
            read = connection.read_csv(name)
            read.project(", ".join(_rename_columns(read.columns))).create(table)
        except duckdb.Error as error:
            return {"error": f"{name} cannot be read as CSV: {str(error).splitlines()[0]}"}
        columns = connection.execute(f'DESCRIBE "{table}"').fetchall()
        tables.append(f"{table}({', '.join(f'{one[0][:40]} {one[1]}' for one in columns[:_MAX_COLUMNS])})")
    if job["sql"] is None:
        return {"tables": tables}
    connection.execute("SET enable_external_access = false")
    connection.execute("SET python_enable_replacements = false")
    connection.execute("SET lock_configuration = true")
    try:
        statements = connection.extract_statements(job["sql"])
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            return {"error": "only one SELECT statement is answered"}
        found = connection.execute(statements[0])
        head = [column[0] for column in found.description or ()]
        values = found.fetchmany(job["rows"] + 1)
    except duckdb.Error as error:
        return {"error": str(error).splitlines()[0][:500]}
    return {"head": head, "rows": [[_cell(value) for value in row] for row in values]}


def _rename_columns(columns: list[str]) -> list[str]:
    """SQL that renames columns to letters, digits and ``_``, as in ``"Item Name" AS "item_name"``."""
    new: list[str] = []
    for column in columns:
        word = "".join(char.lower() if char.isalnum() else "_" for char in column).strip("_")[:40] or "column"
        new.append(word if word not in new else f"{word}_{len(new)}")
    return ['"{}" AS "{}"'.format(old.replace('"', '""'), name) for old, name in zip(columns, new, strict=True)]


def _cell(value: object) -> str:
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    text = "" if value is None else str(value)
    shown = " ".join(text[: 2 * _MAX_CELL].split())
    return shown if len(text) <= _MAX_CELL else f"{shown[:_MAX_CELL]}…"


def main() -> None:
    """Answer the job on the standard input, within its memory limit."""
    job = json.load(sys.stdin)
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, ((job["memory"] << 20) + (2 << 30),) * 2)
    try:
        reply = answer(job)
    except MemoryError:
        reply = {"error": "the query exceeds its memory limit"}
    json.dump(reply, sys.stdout)


if __name__ == "__main__":
    main()
