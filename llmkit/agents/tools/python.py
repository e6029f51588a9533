"""Tool ``python``: runs Python in the sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.part import Part
from llmkit.protocols import Context
from llmkit.sandbox.sandbox import Sandbox


class Python(Part):
    """Runs Python isolated from the machine, with a deadline; returns its output, and the error where it failed."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "python"

    name: str = Field(default="python", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")
    """Name of the tool for the model."""
    sandbox: Sandbox = Sandbox()
    """Limits of the code."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool. Without isolation it counts as having side effects."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            outcome = self.sandbox.run(given["code"])
            text = outcome.stdout.strip()
            if not outcome.ok:
                text = f"{text}\nIt failed: {outcome.why}".strip()
            return Output(text or "It printed nothing: print the result.")

        schema = Arguments().text("code", "a program that prints its result").schema
        about = "Runs a Python program with the standard library and gives what it printed."
        unisolated = self.sandbox.isolation != "bubblewrap"
        return (Tool(self.name, about, schema, call, side_effects=unisolated, untrusted=True),)
