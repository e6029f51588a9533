"""Reports tool results that address the assistant, and marks sentences of an answer that rest on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from llmkit.agents.tool import Output, Tool
from llmkit.pipeline.steps.answering.answer import MARK
from llmkit.text.injection_detection import addressed, specific, tokens, without
from llmkit.text.sentences import sentences
from llmkit.types import Hit

_MAX_QUOTE = 200  # characters of a sentence in a note


def find_instructions(
    tool: Tool, output: Output, first: int, max_chars: int, tools: Iterable[str]
) -> list[dict[str, Any]]:
    """Find text in a result that addresses the assistant, as JSON values for the record.

    Args:
        tool: the tool that was called. Results of trusted tools are not searched.
        output: its result.
        first: number of the first passage.
        max_chars: characters of a text result that the model is shown.
        tools: names of all tools that the model can call.

    Returns:
        For each place: ``quote``, ``why``, ``passage`` (the number of the passage, or None), and ``only`` (names,
        numbers and addresses that appear nowhere else in the result).
    """
    if not tool.untrusted or isinstance(output.text, bytes):
        return []
    texts: list[tuple[int | None, str]] = [(first + n, hit.chunk.text) for n, hit in enumerate(output.hits)]
    texts = texts or [(None, output.text[:max_chars])]
    places = [(n, text, addressed(text, tools)) for n, text in texts]
    clean = tokens("\n".join(without(text, instructions) for _, text, instructions in places))
    return [
        {
            "quote": one.quote[:_MAX_QUOTE], "why": one.why, "passage": n,
            "only": sorted(specific(text[one.start : one.end]) - clean),
        }
        for n, text, instructions in places for one in instructions
    ]  # fmt: skip


def instruction_notes(trace: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A note for each sentence in a trace that addresses the assistant; equal sentences give one note."""
    seen = set()
    for entry in trace:
        for one in entry.get("addressed", ()):
            if one["quote"] not in seen:
                seen.add(one["quote"])
                place = f"passage [{one['passage']}]" if one["passage"] else f"a result of {entry['name']}"
                quote = " ".join("".join(c if c.isprintable() else " " for c in one["quote"]).split())
                yield f"{place} addresses the assistant ({one['why']}): {quote}"


def tainted_sentences(
    text: str, question: str, hits: Sequence[Hit], trace: Sequence[Mapping[str, Any]]
) -> tuple[str, ...]:
    """The sentences of an answer with names, numbers or addresses that only text addressing the assistant contains."""
    only = {token for entry in trace for one in entry.get("addressed", ()) for token in one["only"]}
    if not only:
        return ()
    known = [question, *(without(hit.chunk.text, addressed(hit.chunk.text)) for hit in hits)]
    known += [entry["result"] for entry in trace if entry["kind"] == "tool" and not entry.get("addressed")]
    only -= tokens("\n".join(known))
    return tuple(text[a:b] for a, b in sentences(text) if tokens(MARK.sub("", text[a:b])) & only)
