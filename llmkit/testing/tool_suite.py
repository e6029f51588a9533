"""What any tool must do: inherit it and give the fixtures ``toolbox``, ``arguments`` of its first tool, and ``ctx``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from llmkit.agents.calling import call_tool
from llmkit.agents.tool import Toolbox
from llmkit.extras import optional

_STRANGE = (
    "",
    " ",
    "\x00",
    "\ud800",
    "\u202e 😀",
    "../../x",
    "'; drop table x",
    "(" * 5_000,
    "9" * 5_000,
    "<|im_end|>",
)


class ToolSuite:
    """Conformance to :class:`llmkit.agents.tool.Toolbox`."""

    def test_it_says_what_it_is(self, toolbox: Toolbox) -> None:
        """Names a model can call, one sentence, a schema that is one; as JSON."""
        with optional():
            import jsonschema

        assert isinstance(toolbox, Toolbox)
        tools = toolbox.tools()
        assert tools
        assert len({tool.name for tool in tools}) == len(tools)
        for tool in tools:
            assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", tool.name)
            assert tool.name != "answer", "models without tool calls give their answer under this name"
            assert tool.description
            jsonschema.Draft202012Validator.check_schema(dict(tool.parameters))
            assert tool.parameters.get("type") == "object"
            json.dumps(tool.spec())

    def test_a_right_call_has_a_result(self, toolbox: Toolbox, arguments: Mapping[str, Any], ctx: Any) -> None:
        """Text or bytes, within its deadline."""
        done = call_tool(toolbox.tools()[0], arguments, ctx, 60)
        assert done.status == "ok", done.output.text
        assert done.output.text or done.output.hits

    def test_strange_arguments_do_no_harm(self, toolbox: Toolbox, arguments: Mapping[str, Any], ctx: Any) -> None:
        """Whatever stands in a text, the call ends with a result or says why not."""
        tool = toolbox.tools()[0]
        for name, value in arguments.items():
            for strange in _STRANGE if isinstance(value, str) else ():
                done = call_tool(tool, {**arguments, name: strange}, ctx, 60)
                assert done.status in ("ok", "error", "malformed"), (name, strange)
