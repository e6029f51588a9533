"""Results that speak to the assistant: told as such, and what an answer takes from them is marked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmkit.agents.tool import Output, Tool
from llmkit.pipeline.steps.answering.answer import MARK
from llmkit.text.injection_detection import addressed, specific, tokens, without
from llmkit.text.sentences import sentences
from llmkit.types import Hit

_QUOTED = 200  # characters of a sentence in a note


def find_instructions(tool: Tool, output: Output, first: int, most: int, tools: Iterable[str]) -> list[dict[str, Any]]:
    """The places of a result that speak to the assistant, as JSON values for the record.

    Args:
        tool: that was called; what is not by others is not looked at.
        output: what it gave.
        first: number of the first passage.
        most: characters that the model is shown.
        tools: names of all tools that the model can call.

    Returns:
        ``quote``, ``why``, ``passage`` where it stands in one, and ``only``: names, numbers and addresses that nothing
        else in the result holds.
    """
    if not tool.untrusted or isinstance(output.text, bytes):
        return []
    texts: list[tuple[int | None, str]] = [(first + n, hit.chunk.text) for n, hit in enumerate(output.hits)]
    texts = texts or [(None, output.text[:most])]
    places = [(n, text, addressed(text, tools)) for n, text in texts]
    clean = tokens("\n".join(without(text, found) for _, text, found in places))
    return [
        {
            "quote": one.quote[:_QUOTED], "why": one.why, "passage": n,
            "only": sorted(specific(text[one.start : one.end]) - clean),
        }
        for n, text, found in places for one in found
    ]  # fmt: skip


def instruction_notes(trace: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A note for each result of a trace that speaks to the assistant; the same sentence once."""
    seen = set()
    for entry in trace:
        for one in entry.get("addressed", ()):
            if one["quote"] not in seen:
                seen.add(one["quote"])
                place = f"passage [{one['passage']}]" if one["passage"] else f"a result of {entry['name']}"
                said = " ".join("".join(c if c.isprintable() else " " for c in one["quote"]).split())
                yield f"{place} speaks to the assistant ({one['why']}): {said}"


def tainted_sentences(
    text: str, question: str, hits: Sequence[Hit], trace: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The sentences of an answer with names, numbers or addresses that only text speaking to the assistant holds."""
    only = {token for entry in trace for one in entry.get("addressed", ()) for token in one["only"]}
    if not only:
        return ()
    known = [question, *(without(hit.chunk.text, addressed(hit.chunk.text)) for hit in hits)]
    known += [entry["result"] for entry in trace if entry["kind"] == "tool" and not entry.get("addressed")]
    only -= tokens("\n".join(known))
    return tuple(text[a:b] for a, b in sentences(text) if tokens(MARK.sub("", text[a:b])) & only)
