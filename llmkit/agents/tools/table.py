"""Questions to CSV files in SQL, by DuckDB: a copy in the memory of a process of its own."""

from __future__ import annotations

import glob
import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from llmkit import assets
from llmkit.agents.delimiters import harmless
from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.errors import ConfigError, DataError
from llmkit.extras import need
from llmkit.part import Part
from llmkit.protocols import Context


class Table(Part):
    """Answers SELECT statements over CSV files; nothing is written, no other file is read, no extension is loaded."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "table"

    files: tuple[str, ...] = Field(min_length=1)
    """CSV files, patterns as in ``data/*.csv``, or names below eval/; each is a table with the name of its file."""
    name: str = Field(default="table", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    """What the model calls it."""
    rows: int = Field(default=50, ge=1)
    """Rows that are shown."""
    seconds: float = Field(default=10.0, gt=0)
    """Until a query is stopped."""
    memory: int = Field(default=256, ge=16)
    """MiB that tables and queries may take."""

    def tools(self) -> tuple[Tool, ...]:
        """One; its description names the tables and their columns, so the files are read for it."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            said = self._asked(given["sql"])
            lines = [" | ".join(said["head"]), *(" | ".join(row) for row in said["rows"][: self.rows])]
            if len(said["rows"]) > self.rows:
                lines.append(f"(more than {self.rows} rows: the others are not shown)")
            return Output("\n".join(lines) if said["rows"] else f"{lines[0]}\n(no rows)")

        schema = Arguments().text("sql", "one SELECT statement of DuckDB").schema
        return (Tool(self.name, f"Answers SQL queries over the tables {self._described}.", schema, call),)

    @cached_property
    def _described(self) -> str:
        return harmless(", ".join(self._asked(None)["tables"]))

    def _asked(self, sql: str | None) -> dict[str, Any]:
        """What the process of a query says.

        Raises:
            DataError: no such file, one that is no CSV, not one SELECT statement, an error of DuckDB's, or out of time.
        """
        need("duckdb", feature="the tool `table`", extra="agents")
        asked = {"files": _paths(self.files), "memory": self.memory, "rows": self.rows, "sql": sql}
        worker = [sys.executable, "-I", str(Path(__file__).with_name("table_worker.py"))]
        try:
            done = subprocess.run(
                worker, input=json.dumps(asked), capture_output=True, text=True, timeout=self.seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"the query was not done after {self.seconds:g} seconds") from error
        try:
            said: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise DataError(f"the query broke off: {last[:300]}") from error
        if "error" in said:
            raise DataError(said["error"])
        return said


def _paths(files: tuple[str, ...]) -> list[str]:
    found = []
    for pattern in files:
        paths = [Path(name) for name in sorted(glob.glob(str(Path(pattern).expanduser())))]  # noqa: PTH207
        if not paths:
            try:
                paths = [assets.find("eval", pattern, "")]
            except ConfigError as error:
                raise DataError(f"there is no file {pattern}, and none of that name below eval/") from error
        found += paths
    names = [path.stem for path in found]
    if len(set(names)) < len(names):
        raise DataError(f"two of the files have one name: {', '.join(map(str, found))}")
    return [str(path) for path in found]
