"""Python as a tool, in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.part import Part
from llmkit.protocols import Context
from llmkit.sandbox.sandbox import Sandbox


class Python(Part):
    """Runs Python away from the machine: no network, no files, a deadline; says what it printed, and how it failed."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "python"

    name: str = Field(default="python", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    """What the model calls it."""
    sandbox: Sandbox = Sandbox()
    """Limits of the code."""

    def tools(self) -> tuple[Tool, ...]:
        """One; without isolation it counts as having side effects."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            outcome = self.sandbox.run(given["code"])
            said = outcome.stdout.strip()
            if not outcome.ok:
                said = f"{said}\nIt failed: {outcome.why}".strip()
            return Output(said or "It printed nothing: print the result.")

        schema = Arguments().text("code", "a program that prints its result").schema
        about = "Runs a Python program with the standard library and gives what it printed."
        loose = self.sandbox.isolation != "bubblewrap"
        return (Tool(self.name, about, schema, call, side_effects=loose, untrusted=True),)
