"""A scripted model that walks a row's plan with what the tools really give."""

from __future__ import annotations

import re

from llmkit.models.scripted import ScriptedChat


class PlanFailed(AssertionError):
    """A result does not hold what the next step needs."""


def walking(row):
    """The model for one row: call after call, values taken from results by the plan's patterns, then the answer."""

    def script(messages):
        values = {}
        results = [one for one in messages if one.type == "tool"]
        for step, result in zip(row["plan"], results, strict=False):
            for name, pattern in step["take"].items():
                found = re.search(pattern.format(**values) if "{" in pattern else pattern, result.text, re.DOTALL)
                if found is None:
                    raise PlanFailed(f"{row['id']}: no {pattern!r} in {result.text!r}")
                values[name] = found.group(1).strip()
        if len(results) == len(row["plan"]):
            return row["say"].format(**values)
        step = row["plan"][len(results)]
        filled = {key: value.format(**values) for key, value in step["arguments"].items()}
        if step["tool"] == "convert":
            filled["value"] = float(filled["value"])
        call = {"name": step["tool"], "args": filled, "id": f"c{len(results)}", "type": "tool_call"}
        return {"content": "", "tool_calls": [call]}

    return ScriptedChat(script)
