"""Whether the steps of a pipeline can read what their prompts ask for.

A part says which form it reads by a class variable ``reads``: ``{"feedback": "form"}`` for a field that holds a prompt.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmkit import prompts
from llmkit.errors import LlmkitError
from llmkit.lint.formats import ALONE, asked_for
from llmkit.lint.prompt import Finding
from llmkit.part import Part
from llmkit.pipeline.steps.loops.refine import Refine
from llmkit.prompts import Output


def lint_uses(part: Part, place: str = "") -> list[Finding]:
    """Every prompt of a pipeline or task whose reply its reader could not read."""
    return list(_walk(part, place or getattr(part, "name", part.type)))


def _walk(value: Any, place: str) -> Iterator[Finding]:
    if isinstance(value, Part):
        reads: dict[str, Output] = getattr(value, "reads", {})
        for name in type(value).model_fields:
            held = getattr(value, name)
            if name in reads and isinstance(held, str):
                yield from _use(f"{place}.{name}", held, reads[name], value)
            yield from _walk(held, f"{place}.{name}")
        if isinstance(value, Refine) and "json-schema" in {verifier.type for verifier in value.verifiers}:
            yield from _use(f"{place}.revise", value.revise, "json", value, strict=False)
    elif isinstance(value, tuple | list):
        for n, item in enumerate(value):
            yield from _walk(item, f"{place}[{n}]")


def _use(place: str, ref: str, reads: Output, reader: Part, *, strict: bool = True) -> Iterator[Finding]:
    """What is wrong with one use; `strict`: the prompt has to ask for the form, not only for no other."""
    try:
        prompt = prompts.load(ref)
    except LlmkitError as error:
        yield Finding(place, "form", str(error))
        return
    asked = {prompt.output} if prompt.output else {kind for kind in asked_for(prompt) if kind in (*ALONE, reads)}
    # text with marks and a form of the whole reply are two; of two whole forms the prompt's own lint tells
    if asked - {reads, "text"} and (reads not in asked or reads == "cited"):
        other = ", ".join(sorted(str(kind) for kind in asked - {reads}))
        yield Finding(place, "output", f"{prompt.ref} asks for {other}; {reader.type} reads {reads}")
    elif strict and reads not in asked and reads != "text":
        yield Finding(place, "output", f"{prompt.ref} asks for no {reads}, which is what {reader.type} reads")
