"""Versioned prompts: ``prompts/NAME/vN.md``, ``$name`` variables declared up front, digests in LOCK.json.

A prompt file is a YAML head between ``---`` lines and two sections::

    ---
    description: Answer from numbered passages with citations.
    variables: [question, passages]
    output: cited
    ---
    # system
    ...
    # user
    ... $passages ... $question

There is no template engine: each ``$name`` is replaced once, and inserted text is never read as a template.
``llmkit prompt lint`` checks `output` and `budget`.

The head may hold worked examples (few-shot): values for the variables of the last ``# user`` section, and an answer.
Each becomes a pair of turns before that section: ``examples: [{question: "What is 2 + 2?", answer: "4"}]``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import string
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from llmkit import assets, config
from llmkit.errors import ConfigError, LlmkitError, PromptError, unknown
from llmkit.types import Message

LOCK = "LOCK.json"
_REF = re.compile(r"([a-z][a-z0-9-]*)(?:@(v[0-9]+))?")
MARK = re.compile(r"^---[ \t]*\n", re.MULTILINE)
"""The line before and after a head."""
_SECTION = re.compile(r"^# (system|user|assistant)[ \t]*$", re.MULTILINE)


Output = Literal["text", "cited", "json", "number", "label", "lines", "form", "code", "pairs"]
"""Form of the reply: free text; text with [n] marks; JSON; text that ends with a number; one of several labels;
numbered lines; the form of a critic; a code block; lines of Q: and A:."""


class _Head(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    description: str
    variables: tuple[str, ...] = ()
    output: Output | None = None
    budget: int | None = Field(default=None, ge=1)
    parent: str | None = None
    examples: tuple[dict[str, str], ...] = ()
    lineage: dict[str, Any] = Field(default_factory=dict)


class Prompt(BaseModel):
    """One version of one prompt."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: str
    description: str
    variables: tuple[str, ...]
    messages: tuple[tuple[str, str], ...]
    """(role, template) pairs in order."""
    digest: str
    """SHA-256 of the file, hex."""
    output: Output | None = None
    """Declared form of the reply; None: not declared."""
    budget: int | None = None
    """Maximum tokens of the prompt's own text, without variables; None: the linter's default."""
    parent: str | None = None
    """Reference of the version that it was copied from, as in ``answer@v1``."""
    examples: tuple[dict[str, str], ...] = ()
    """Worked examples: values for the variables of the last user section, and the ``answer``."""
    lineage: dict[str, Any] = Field(default_factory=dict)
    """Origin of a version that `llmkit experiment` wrote."""

    @property
    def ref(self) -> str:
        """``name@vN``."""
        return f"{self.name}@{self.version}"

    @property
    def made_from(self) -> str | None:
        """Reference of the version that it was made from, by hand or by an experiment; None: unknown."""
        return self.parent or (str(self.lineage["from"]) if "from" in self.lineage else None)

    def render(self, values: Mapping[str, str], examples: int | None = None) -> list[Message]:
        """Fill in the variables.

        Args:
            values: the text of each variable.
            examples: number of examples to show, from the first; None: all.

        Raises:
            PromptError: a declared variable without a value, or a value without a variable.
        """
        missing = [name for name in self.variables if name not in values]
        extra = [name for name in values if name not in self.variables]
        if missing or extra:
            wrong = [f"no value for {name!r}" for name in missing]
            wrong += [unknown("variable", name, self.variables) for name in extra]
            raise PromptError(f"prompt {self.ref}: {'; '.join(wrong)}")
        messages = [_filled(role, text, values) for role, text in self.messages]
        turns = self._turns(self.examples[:examples])
        return [*messages[:-1], *turns, messages[-1]] if turns else messages

    def _turns(self, examples: Iterable[Mapping[str, str]]) -> list[Message]:
        """Each example as two turns: the last section filled in, and its answer."""
        return [
            turn
            for example in examples
            for turn in (_filled(*self.messages[-1], example), Message("assistant", example["answer"]))
        ]


def load(ref: str) -> Prompt:
    """The prompt of a reference: ``answer@v1``, or ``answer`` for its highest version, or a path to a file.

    Raises:
        PromptError: the prompt does not exist, cannot be parsed, or was changed after it was locked.
    """
    path = path_of(ref)
    if ref.endswith(".md"):
        return read(path, name=path.parent.name or "prompt", version=path.stem)
    prompt = read(path, path.parent.name, path.stem)
    _check_lock(prompt, path)
    return prompt


def path_of(ref: str) -> Path:
    """The file of a reference.

    Raises:
        PromptError: there is no such prompt or version.
    """
    if ref.endswith(".md"):
        path = Path(ref).expanduser()
        if not path.is_file():
            raise PromptError(f"no prompt file {path}")
        return path
    match = _REF.fullmatch(ref)
    if match is None:
        raise PromptError(f"not a prompt reference: {ref!r}; write name@v1, name, or a path ending in .md")
    name, version = match.groups()
    found = versions(name)
    if not found:
        raise PromptError(unknown("prompt", name, sorted({known.split("/")[0] for known in _known()})))
    version = version or max(found, key=_number)
    if version not in found:
        raise PromptError(f"prompt {name!r} has no {version} (there is: {', '.join(sorted(found, key=_number))})")
    return found[version]


def references() -> list[str]:
    """References of all versions of all prompts, sorted by name and number."""
    names = sorted({known.split("/")[0] for known in _known() if "/" in known})
    return [f"{name}@{version}" for name in names for version in sorted(versions(name), key=_number)]


class PromptRef:
    """Pydantic marker of a field that holds a prompt reference. The prompt must exist and have the named variables.

    ::

        prompt: Annotated[str, PromptRef("question", "passages")] = "answer@v1"
    """

    def __init__(self, *required: str, optional: Iterable[str] = ()) -> None:
        """Name the variables that the reader of the field fills in.

        Args:
            required: variables that the prompt must have.
            optional: variables that the prompt may have.
        """
        self.required = frozenset(required)
        self.optional = frozenset(optional)

    def check(self, ref: str) -> str:
        """Return the reference unchanged.

        Raises:
            ValueError: the prompt cannot be loaded or has other variables. Pydantic adds the field's name.
        """
        try:
            variables = frozenset(load(ref).variables)
        except LlmkitError as error:
            raise ValueError(str(error)) from error
        if not self.required <= variables <= self.required | self.optional:
            more = f" (optional: {', '.join(sorted(self.optional))})" if self.optional else ""
            raise ValueError(
                f"prompt {ref} has the variables {sorted(variables)}; "
                f"expected {', '.join(sorted(self.required)) or 'none'}{more}"
            )
        return ref

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


def check_examples(ref: str, count: int | None) -> None:
    """Check that a prompt has as many worked examples as a step asks for.

    Without this check, two arms of an experiment could be the same prompt unnoticed.

    Raises:
        ValueError: it has fewer.
    """
    held = len(load(ref).examples)
    if count is not None and count > held:
        raise ValueError(f"examples: prompt {ref} has {held}, not {count}")


def read(path: Path, name: str, version: str) -> Prompt:
    """Read one prompt file, without a check of the lock.

    Raises:
        PromptError: the file cannot be parsed, or its variables differ from those that it declares.
    """
    try:
        return _parsed(path.read_bytes(), path, name, version)
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(f"{path} cannot be read: {error}") from error


@functools.lru_cache(256)  # prompts are read for every question, and parsing one takes longer than a small step
def _parsed(raw: bytes, path: Path, name: str, version: str) -> Prompt:
    text = raw.decode("utf-8").replace("\r\n", "\n")
    parts = MARK.split(text, 2)
    if len(parts) != 3 or parts[0].strip():
        raise PromptError(f"{path}: expected a head between two lines '---'")
    try:
        head = config.parse(parts[1], str(path), variables=False).build(_Head)
    except ConfigError as error:
        raise PromptError(str(error)) from error
    messages = tuple(_messages(parts[2], path))
    used: set[str] = set()
    for _, template in messages:
        if not string.Template(template).is_valid():
            raise PromptError(f"{path}: a '$' that starts no variable; write '$$' for a dollar sign")
        used |= set(string.Template(template).get_identifiers())
    if used != set(head.variables):
        undeclared, unused = sorted(used - set(head.variables)), sorted(set(head.variables) - used)
        wrong = [f"${word} is used but not declared" for word in undeclared]
        wrong += [f"{word!r} is declared but not used" for word in unused]
        raise PromptError(f"{path}: {'; '.join(wrong)}")
    _check_examples(head.examples, messages[-1], path)
    return Prompt(
        name=name,
        version=version,
        description=head.description,
        variables=head.variables,
        messages=messages,
        digest=hashlib.sha256(raw.replace(b"\r\n", b"\n")).hexdigest(),
        output=head.output,
        budget=head.budget,
        parent=head.parent,
        examples=head.examples,
        lineage=head.lineage,
    )


def _filled(role: str, template: str, values: Mapping[str, str]) -> Message:
    return Message(role, string.Template(template).substitute(values))  # type: ignore[arg-type]


def _check_examples(examples: Iterable[Mapping[str, str]], last: tuple[str, str], path: Path) -> None:
    """Examples belong before a last user section, and hold its variables and an answer."""
    role, template = last
    wanted = {*string.Template(template).get_identifiers(), "answer"}
    for number, example in enumerate(examples, 1):
        if role != "user" or "answer" in string.Template(template).get_identifiers():
            raise PromptError(f"{path}: examples need a last section '# user' without a variable 'answer'")
        if set(example) != wanted:
            raise PromptError(f"{path}: example {number} has {sorted(example)}; expected {', '.join(sorted(wanted))}")


def _messages(body: str, path: Path) -> Iterator[tuple[str, str]]:
    marks = list(_SECTION.finditer(body))
    if not marks or body[: marks[0].start()].strip():
        raise PromptError(f"{path}: the text must stand under '# system', '# user' or '# assistant'")
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        yield mark.group(1), body[mark.end() : after.start() if after else len(body)].strip()


def versions(name: str) -> dict[str, Path]:
    """The files of a prompt by version. The folder in the working directory takes precedence over the shipped one."""
    found: dict[str, Path] = {}
    for folder in reversed(assets.folders("prompts")):
        found |= {path.stem: path for path in (folder / name).glob("v*.md") if path.stem[1:].isdigit()}
    return found


def _number(version: str) -> int:
    return int(version[1:])


def _known() -> list[str]:
    return assets.known("prompts", ".md")


def locked_digest(path: Path) -> str | None:
    """The digest of a prompt file in the lock file of its folder; None if it is not locked."""
    lock_file = path.parent.parent / LOCK
    if not lock_file.is_file():
        return None
    digests: dict[str, str] = json.loads(lock_file.read_text(encoding="utf-8"))
    return digests.get(f"{path.parent.name}@{path.stem}")


def _check_lock(prompt: Prompt, path: Path) -> None:
    """Refuse a version whose digest is not the one in the lock file."""
    if locked_digest(path) not in (None, prompt.digest):
        raise PromptError(
            f"{path} was changed after {prompt.ref} was locked: results under that name would not be comparable. "
            f"Keep the new text with `llmkit prompt new-version {prompt.ref}` and bring the old one back, or run "
            "`llmkit prompt lock` if the old text was never used."
        )
