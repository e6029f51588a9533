"""What is wrong with one prompt file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmkit import prompts
from llmkit.errors import PromptError
from llmkit.lint.formats import ALONE, asked_for
from llmkit.lint.secrets import secrets

Rule = Literal["form", "variables", "secret", "output", "length", "locked"]
BUDGET = 400
"""Tokens a prompt's own text may have where neither its head nor the caller says."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    place: str
    """File, or pipeline and field."""
    rule: Rule
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}: {self.message}"


def lint_file(path: Path, budget: int = BUDGET) -> list[Finding]:
    """Everything that is wrong with a prompt file; a secret is looked for even where the rest cannot be read."""
    place = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [Finding(place, "form", f"cannot be read: {error}")]
    found = [
        Finding(place, "secret", f"line {line} holds what looks like a {kind} ({shown}): take it out, and revoke it")
        for line, kind, shown in secrets(text)
    ]
    try:
        prompt = prompts.read(path, path.parent.name, path.stem)
    except PromptError as error:
        message = str(error).removeprefix(f"{path}: ")
        wrong: Rule = "variables" if "declared" in message or "starts no variable" in message else "form"
        return [*found, Finding(place, wrong, message)]
    found += [Finding(place, "output", message) for message in _output(prompt)]
    limit = prompt.budget or budget
    if (tokens := tokens_of(prompt)) > limit:
        found.append(
            Finding(place, "length", f"about {tokens} tokens without its variables, over the budget of {limit}")
        )
    if prompts.locked(path) not in (None, prompt.digest):
        found.append(
            Finding(place, "locked", f"changed after {prompt.ref} was locked: `llmkit prompt new-version {prompt.ref}`")
        )
    return found


def tokens_of(prompt: prompts.Prompt) -> int:
    """About how many tokens the prompt's own text has: a third of its bytes, and eight a message."""
    return sum(len(text.encode()) // 3 + 8 for _, text in prompt.messages)


def _output(prompt: prompts.Prompt) -> Iterator[str]:
    """Where the declared form of the reply and the wording, or two wordings, contradict one another."""
    asked = asked_for(prompt)
    whole = {kind: words for kind, words in asked.items() if kind in ALONE}
    declared = prompt.output
    if declared is None:
        if len(whole) > 1:
            told = " and ".join(f"{kind} ({words!r})" for kind, words in whole.items())
            yield f"the text asks for {told}: a reply has one form"
        return
    for kind, words in whole.items():
        if kind != declared:
            yield f"its head declares output: {declared}; the text asks for {kind} ({words!r})"
    if declared not in (*asked, "text") and not whole:
        yield f"its head declares output: {declared}; nothing in the text asks for it"
    if declared == "text" and "cited" in asked:
        yield f"its head declares output: text; the text asks for citations ({asked['cited']!r})"
