"""Tools ``langchain`` and ``mcp``: LangChain tools of installed packages, and the tools of MCP servers."""

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

from llmkit.agents.delimiters import escape_delimiters
from llmkit.agents.tool import Output, Tool
from llmkit.errors import ConfigError, DataError, unknown
from llmkit.extras import need
from llmkit.part import Part
from llmkit.protocols import Context

GROUP = "llmkit.langchain_tools"


class LangChainTool(Part):
    """A LangChain tool that an installed package provides as an entry point of the group ``llmkit.langchain_tools``."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "langchain"

    tool: str
    """Name of the entry point, which is a tool or a function that returns one."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of that function."""
    side_effects: bool = True
    """Whether the tool changes something. Keep true if you do not know."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool.

        Raises:
            ConfigError: the entry point is missing, or gives no LangChain tool.
        """
        return (_from_langchain(self._langchain_tool, self.side_effects),)

    @cached_property
    def _langchain_tool(self) -> Any:
        from langchain_core.tools import BaseTool

        points = {point.name: point for point in entry_points(group=GROUP)}
        if self.tool not in points:
            raise ConfigError(unknown(f"entry point of {GROUP}", self.tool, sorted(points)))
        try:
            target = points[self.tool].load()
            tool = target if isinstance(target, BaseTool) else target(**self.options)
        except Exception as error:
            raise ConfigError(f"the LangChain tool {self.tool!r} cannot be created: {error}") from error
        if not isinstance(tool, BaseTool):
            raise ConfigError(f"the entry point {self.tool!r} gives {type(tool).__name__}, not a LangChain tool")
        return tool


class MCP(Part):
    """The tools of a Model Context Protocol server: a program on this machine, or a server on a loopback address."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "mcp"

    command: tuple[str, ...] = ()
    """Program and arguments of a server that communicates over standard input and output."""
    url: str = ""
    """Address of a running server on this machine, as in http://127.0.0.1:8000/mcp."""
    only: tuple[str, ...] = ()
    """Names of the tools to offer; empty: all tools."""
    harmless: tuple[str, ...] = ()
    """Names of tools that change nothing. The others count as having side effects, whatever the server says."""
    seconds: float = Field(default=20.0, gt=0)
    """Deadline for the list of tools."""

    @model_validator(mode="after")
    def _check_address(self) -> MCP:
        if bool(self.command) == bool(self.url):
            raise ValueError("give either command or url")
        return self

    @field_validator("url")
    @classmethod
    def _check_loopback(cls, value: str) -> str:
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
        """The tools of the server, which is asked once.

        Raises:
            DataError: the server does not answer, or lacks a tool of `only` or `harmless`.
            MissingExtra: langchain-mcp-adapters is not installed.
        """
        return self._server_tools

    @cached_property
    def _server_tools(self) -> tuple[Tool, ...]:
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
    """The function that calls a LangChain tool. A tool that is only asynchronous runs in its own event loop."""

    def call(given: Mapping[str, Any], ctx: Context) -> Output:
        async_only = getattr(tool, "func", call) is None
        try:
            return Output(_to_text(_run(tool.ainvoke(dict(given)), None) if async_only else tool.invoke(dict(given))))
        except BaseExceptionGroup as group:
            raise DataError(_innermost(group)) from group

    return call


def _run(coroutine: Any, seconds: float | None) -> Any:
    """Run a coroutine to its end, also where the caller runs in an event loop."""

    async def with_deadline() -> Any:
        return await asyncio.wait_for(coroutine, seconds)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(with_deadline())
    with ThreadPoolExecutor(1) as thread:  # the caller runs in an event loop, as in a notebook
        return thread.submit(asyncio.run, with_deadline()).result()


def _to_text(result: Any) -> str | bytes:
    """The result of a tool as text or bytes. Content blocks that are not text are named and not shown."""
    if isinstance(result, str | bytes):
        return result
    if isinstance(result, list) and all(isinstance(one, dict) and "type" in one for one in result):
        return "\n".join(one["text"] if one["type"] == "text" else f"({one['type']}, not shown)" for one in result)
    return json.dumps(result, ensure_ascii=False, default=str)


def _about(function: Mapping[str, Any]) -> str:
    """The description by others, truncated, on one line and without delimiters."""
    return escape_delimiters(" ".join((function.get("description") or "").split()))[:400]


def _innermost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
