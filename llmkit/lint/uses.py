"""Checks that the steps of a pipeline can read the replies that their prompts ask for.

A part declares the form it reads in a class variable ``reads``, as in ``{"feedback": "form"}`` for the prompt in the
field ``feedback``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llmkit import prompts
from llmkit.errors import LlmkitError
from llmkit.lint.formats import ALONE, requested_forms
from llmkit.lint.prompt import Finding
from llmkit.part import Part
from llmkit.pipeline.steps.loops.refine import Refine
from llmkit.prompts import Output


def lint_uses(part: Part, place: str = "") -> list[Finding]:
    """A finding for each prompt of a pipeline or task whose reply its reader cannot read."""
    return list(_walk(part, place or getattr(part, "name", part.type)))


def _walk(value: Any, place: str) -> Iterator[Finding]:
    if isinstance(value, Part):
        reads: dict[str, Output] = getattr(value, "reads", {})
        for name in type(value).model_fields:
            item = getattr(value, name)
            if name in reads and isinstance(item, str):
                yield from _check_use(f"{place}.{name}", item, reads[name], value)
            yield from _walk(item, f"{place}.{name}")
        if isinstance(value, Refine) and "json-schema" in {verifier.type for verifier in value.verifiers}:
            yield from _check_use(f"{place}.revise", value.revise, "json", value, strict=False)
    elif isinstance(value, tuple | list):
        for n, item in enumerate(value):
            yield from _walk(item, f"{place}[{n}]")


def _check_use(place: str, ref: str, reads: Output, reader: Part, *, strict: bool = True) -> Iterator[Finding]:
    """Problems of one use of a prompt. With `strict`, the prompt must ask for the form; else it may ask for none."""
    try:
        prompt = prompts.load(ref)
    except LlmkitError as error:
        yield Finding(place, "form", str(error))
        return
    declared = {prompt.output} if prompt.output else set()
    requested = declared or {kind for kind in requested_forms(prompt) if kind in (*ALONE, reads)}
    # cited text contradicts a form of the whole reply; two whole forms are reported by the lint of the prompt itself
    if requested - {reads, "text"} and (reads not in requested or reads == "cited"):
        other = ", ".join(sorted(str(kind) for kind in requested - {reads}))
        yield Finding(place, "output", f"{prompt.ref} asks for {other}; {reader.type} reads {reads}")
    elif strict and reads not in requested and reads != "text":
        yield Finding(place, "output", f"{prompt.ref} asks for no {reads}, which is what {reader.type} reads")
