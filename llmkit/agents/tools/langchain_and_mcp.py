"""Tools of others: LangChain's by the name of an entry point, and those of MCP servers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from llmkit.agents.delimiters import harmless
from llmkit.agents.tool import Output, Tool
from llmkit.errors import ConfigError, DataError, unknown
from llmkit.extras import need
from llmkit.part import Part
from llmkit.protocols import Context

GROUP = "llmkit.langchain_tools"


class LangChainTool(Part):
    """A LangChain tool that an installed package offers as an entry point of the group ``llmkit.langchain_tools``."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "langchain"

    tool: str
    """Name of the entry point: of a tool, or of a function that makes one."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What the function is called with."""
    side_effects: bool = True
    """Whether it changes something; true where you do not know."""

    def tools(self) -> tuple[Tool, ...]:
        """One.

        Raises:
            ConfigError: no such entry point, or it gives no tool.
        """
        return (_from_langchain(self._made, self.side_effects),)

    @cached_property
    def _made(self) -> Any:
        from langchain_core.tools import BaseTool

        points = {point.name: point for point in entry_points(group=GROUP)}
        if self.tool not in points:
            raise ConfigError(unknown(f"entry point of {GROUP}", self.tool, sorted(points)))
        try:
            found = points[self.tool].load()
            made = found if isinstance(found, BaseTool) else found(**self.options)
        except Exception as error:
            raise ConfigError(f"the LangChain tool {self.tool!r} cannot be made: {error}") from error
        if not isinstance(made, BaseTool):
            raise ConfigError(f"the entry point {self.tool!r} gives {type(made).__name__}, not a LangChain tool")
        return made


class MCP(Part):
    """The tools of a Model Context Protocol server: a program on this machine, or a server on its loopback address."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "mcp"

    command: tuple[str, ...] = ()
    """Program and arguments of a server that speaks over its standard input and output."""
    url: str = ""
    """Address of a running one, as in http://127.0.0.1:8000/mcp; only this machine's own."""
    only: tuple[str, ...] = ()
    """Tools that are offered; none named: all of them."""
    harmless: tuple[str, ...] = ()
    """Tools that change nothing; the others count as having side effects, whatever the server says."""
    seconds: float = Field(default=20.0, gt=0)
    """For the list of tools."""

    @model_validator(mode="after")
    def _one_of_both(self) -> MCP:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either command or url")
        return self

    @field_validator("url")
    @classmethod
    def _on_this_machine(cls, value: str) -> str:
        if not value:
            return value
        host = urlsplit(value).hostname or ""
        try:
            local = host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            local = False
        if not local or urlsplit(value).scheme not in ("http", "https"):
            raise ValueError(f"an MCP server must be on this machine, as in http://127.0.0.1:8000/mcp, not {value!r}")
        return value

    def tools(self) -> Sequence[Tool]:
        """Those of the server, which is asked once.

        Raises:
            DataError: it does not answer, or has not what `only` names.
            MissingExtra: langchain-mcp-adapters is not installed.
        """
        return self._listed

    @cached_property
    def _listed(self) -> tuple[Tool, ...]:
        need("langchain_mcp_adapters", feature="MCP servers as tools", extra="mcp")
        from langchain_mcp_adapters.client import MultiServerMCPClient

        connection: Any = (
            {"transport": "stdio", "command": self.command[0], "args": list(self.command[1:])}
            if self.command
            else {"transport": "streamable_http", "url": self.url}
        )
        client = MultiServerMCPClient({"server": connection})
        place = " ".join(self.command) or self.url
        try:
            found = _run(client.get_tools(), self.seconds)
        except Exception as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else _innermost(error)
            raise DataError(f"the MCP server {place} does not list its tools: {why}") from error
        known = [tool.name for tool in found]
        for name in (*self.only, *self.harmless):
            if name not in known:
                raise DataError(f"the MCP server {place}: {unknown('tool', name, known)}")
        return tuple(
            _from_langchain(tool, tool.name not in self.harmless)
            for tool in found
            if not self.only or tool.name in self.only
        )


def _from_langchain(tool: Any, side_effects: bool) -> Tool:
    from langchain_core.utils.function_calling import convert_to_openai_tool

    function = convert_to_openai_tool(tool)["function"]
    name = re.sub(r"[^A-Za-z0-9_-]", "_", function["name"])[:64]
    parameters = function.get("parameters") or {"type": "object", "properties": {}}

    return Tool(name, _about(function), parameters, _caller(tool), side_effects=side_effects)


def _caller(tool: Any) -> Any:
    """The function that calls a LangChain tool; one that is asynchronous only is run in a loop of its own."""

    def call(given: Mapping[str, Any], ctx: Context) -> Output:
        alone = getattr(tool, "func", call) is None
        try:
            return Output(_plain(_run(tool.ainvoke(dict(given)), None) if alone else tool.invoke(dict(given))))
        except BaseExceptionGroup as group:
            raise DataError(_innermost(group)) from group

    return call


def _run(waiting: Any, seconds: float | None) -> Any:
    async def whole() -> Any:
        return await asyncio.wait_for(waiting, seconds)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(whole())
    with ThreadPoolExecutor(1) as thread:  # the caller stands in a loop of its own, as in a notebook
        return thread.submit(asyncio.run, whole()).result()


def _plain(said: Any) -> str | bytes:
    """What a tool gave, as text or bytes; of content blocks the texts, of others their kind."""
    if isinstance(said, str | bytes):
        return said
    if isinstance(said, list) and all(isinstance(one, dict) and "type" in one for one in said):
        return "\n".join(one["text"] if one["type"] == "text" else f"({one['type']}, not shown)" for one in said)
    return json.dumps(said, ensure_ascii=False, default=str)


def _about(function: Mapping[str, Any]) -> str:
    """The description, which others wrote: short, on one line, without marks."""
    return harmless(" ".join((function.get("description") or "").split()))[:400]


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
