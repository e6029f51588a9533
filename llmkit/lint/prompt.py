"""Checks of one prompt file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from llmkit import prompts
from llmkit.errors import PromptError
from llmkit.lint.formats import ALONE, requested_forms
from llmkit.lint.secrets import find_secrets

Rule = Literal["form", "variables", "secret", "output", "length", "locked"]
BUDGET = 400
"""Maximum tokens of a prompt's own text, unless its head or the caller sets another budget."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem."""

    place: str
    """File, or pipeline and field."""
    rule: Rule
    """The check that failed."""
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}: {self.message}"


def lint_file(path: Path, budget: int = BUDGET) -> list[Finding]:
    """All problems of a prompt file. Secrets are searched for even where the file cannot be parsed.

    Args:
        path: the file.
        budget: maximum tokens of its own text, where its head sets none.
    """
    place = str(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return [Finding(place, "form", f"cannot be read: {error}")]
    found = [
        Finding(place, "secret", f"line {line} seems to contain a secret ({kind}, {shown}): remove it, and revoke it")
        for line, kind, shown in find_secrets(text)
    ]
    try:
        prompt = prompts.read(path, path.parent.name, path.stem)
    except PromptError as error:
        message = str(error).removeprefix(f"{path}: ")
        rule: Rule = "variables" if "declared" in message or "starts no variable" in message else "form"
        return [*found, Finding(place, rule, message)]
    found += [Finding(place, "output", message) for message in _output(prompt)]
    limit = prompt.budget or budget
    if (tokens := estimate_tokens(prompt)) > limit:
        found.append(
            Finding(place, "length", f"about {tokens} tokens without its variables, over the budget of {limit}")
        )
    if prompts.locked_digest(path) not in (None, prompt.digest):
        found.append(
            Finding(place, "locked", f"changed after {prompt.ref} was locked: `llmkit prompt new-version {prompt.ref}`")
        )
    return found


def estimate_tokens(prompt: prompts.Prompt) -> int:
    """Estimated tokens of the prompt's own text and examples: a third of their bytes, and eight for each message."""
    examples = [value for example in prompt.examples for value in example.values()]
    return sum(len(text.encode()) // 3 + 8 for text in [*(text for _, text in prompt.messages), *examples])


def _output(prompt: prompts.Prompt) -> Iterator[str]:
    """Contradictions between the declared form of the reply and the wording, or between two wordings."""
    requested = requested_forms(prompt)
    whole = {kind: words for kind, words in requested.items() if kind in ALONE}
    declared = prompt.output
    if declared is None:
        if len(whole) > 1:
            forms = " and ".join(f"{kind} ({words!r})" for kind, words in whole.items())
            yield f"the text asks for {forms}: a reply has one form"
        return
    for kind, words in whole.items():
        if kind != declared:
            yield f"its head declares output: {declared}; the text asks for {kind} ({words!r})"
    if declared not in (*requested, "text") and not whole:
        yield f"its head declares output: {declared}; nothing in the text asks for it"
    if declared == "text" and "cited" in requested:
        yield f"its head declares output: text; the text asks for citations ({requested['cited']!r})"
