"""Tool ``table``: SQL over CSV files, by DuckDB on a copy in the memory of a separate process."""

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
from llmkit.agents.delimiters import escape_delimiters
from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.errors import ConfigError, DataError
from llmkit.extras import need
from llmkit.part import Part
from llmkit.protocols import Context


class Table(Part):
    """Answers SELECT statements over CSV files. It writes nothing, reads no other file and loads no extension."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "table"

    files: tuple[str, ...] = Field(min_length=1)
    """CSV files, patterns as in ``data/*.csv``, or names below eval/. Each file is a table with its name."""
    name: str = Field(default="table", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    """Name of the tool for the model."""
    rows: int = Field(default=50, ge=1)
    """Maximum number of rows to show."""
    seconds: float = Field(default=10.0, gt=0)
    """Seconds after which a query is stopped."""
    memory: int = Field(default=256, ge=16)
    """MiB of memory for tables and queries."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool. The files are read for its description, which names the tables and their columns."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            reply = self._query(given["sql"])
            lines = [" | ".join(reply["head"]), *(" | ".join(row) for row in reply["rows"][: self.rows])]
            if len(reply["rows"]) > self.rows:
                lines.append(f"(more than {self.rows} rows: the others are not shown)")
            return Output("\n".join(lines) if reply["rows"] else f"{lines[0]}\n(no rows)")

        schema = Arguments().text("sql", "one SELECT statement of DuckDB").schema
        return (Tool(self.name, f"Answers SQL queries over the tables {self._tables}.", schema, call),)

    @cached_property
    def _tables(self) -> str:
        return escape_delimiters(", ".join(self._query(None)["tables"]))

    def _query(self, sql: str | None) -> dict[str, Any]:
        """Run a query in the worker process; None: describe the tables.

        Raises:
            DataError: a file is missing or no CSV, the query is not one SELECT statement, DuckDB reports an error, or
                time ran out.
            MissingExtra: DuckDB is not installed.
        """
        need("duckdb", feature="the tool `table`", extra="agents")
        job = {"files": _paths(self.files), "memory": self.memory, "rows": self.rows, "sql": sql}
        worker = [sys.executable, "-I", str(Path(__file__).with_name("table_worker.py"))]
        try:
            done = subprocess.run(
                worker, input=json.dumps(job), capture_output=True, text=True, timeout=self.seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DataError(f"the query did not finish within {self.seconds:g} seconds") from error
        try:
            reply: dict[str, Any] = json.loads(done.stdout)
        except ValueError as error:
            last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise DataError(f"the query broke off: {last[:300]}") from error
        if "error" in reply:
            raise DataError(reply["error"])
        return reply


def _paths(files: tuple[str, ...]) -> list[str]:
    found = []
    for pattern in files:
        paths = [Path(name) for name in sorted(glob.glob(str(Path(pattern).expanduser())))]  # noqa: PTH207
        if not paths:
            try:
                paths = [assets.find("eval", pattern, "")]
            except ConfigError as error:
                raise DataError(f"there is no file {pattern}, neither here nor below eval/") from error
        found += paths
    names = [path.stem for path in found]
    if len(set(names)) < len(names):
        raise DataError(f"two of the files have the same name: {', '.join(map(str, found))}")
    return [str(path) for path in found]
