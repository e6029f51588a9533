"""A candidate of an optimisation: a prompt as data, its instruction taken out and put back, written and read back.

The instruction is the first system section; where there is none, what stands in the last user section before the line
of its first variable. Where that is nothing too, a new instruction becomes a system section.
"""

from __future__ import annotations

import hashlib
import os
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from llmkit import prompts
from llmkit.errors import PromptError

Messages = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Candidate:
    """A prompt that is not a version yet."""

    description: str
    variables: tuple[str, ...]
    messages: Messages
    """(role, template) pairs."""
    examples: tuple[Mapping[str, str], ...] = ()
    made: tuple[str, ...] = ()
    """What was done to the incumbent, in order."""
    declared: Mapping[str, Any] = field(default_factory=dict)
    """What the incumbent's head says of output and budget; it stays."""

    @classmethod
    def of(cls, prompt: prompts.Prompt) -> Candidate:
        """The incumbent."""
        declared = {"output": prompt.output, "budget": prompt.budget}
        kept = {name: value for name, value in declared.items() if value is not None}
        return cls(prompt.description, prompt.variables, prompt.messages, prompt.examples, declared=kept)

    @property
    def instruction(self) -> str:
        """Its instruction, a template; empty where it has none."""
        place, end = _place(self.messages)
        return self.messages[place][1][:end].strip() if place >= 0 else ""

    def with_instruction(self, instruction: str, made: str) -> Candidate:
        """The same with another instruction, a template."""
        place, end = _place(self.messages)
        changed = list(self.messages)
        if place < 0:
            changed = [("system", instruction), *changed]
        else:
            role, text = changed[place]
            rest = text[end:].strip()
            changed[place] = (role, "\n\n".join(part for part in (instruction, rest) if part))
        return replace(self, messages=tuple(one for one in changed if one[1]), made=(*self.made, made))

    def with_examples(self, examples: tuple[Mapping[str, str], ...], made: str) -> Candidate:
        """The same with other examples."""
        return replace(self, examples=examples, made=(*self.made, made))

    @property
    def key(self) -> str:
        """Names what the model will see: first 12 hex digits of a digest."""
        seen = repr((self.messages, [sorted(example.items()) for example in self.examples]))
        return hashlib.sha256(seen.encode("utf-8", "surrogatepass")).hexdigest()[:12]

    def text(self, lineage: Mapping[str, Any] | None = None) -> str:
        """The prompt as a file."""
        head: dict[str, Any] = {"description": self.description, "variables": list(self.variables), **self.declared}
        if self.examples:
            head["examples"] = [dict(example) for example in self.examples]
        if lineage:
            head["parent"] = lineage["from"]
            head["lineage"] = dict(lineage)
        sections = "\n".join(f"# {role}\n{text}\n" for role, text in self.messages)
        written = yaml.dump(head, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1 << 20)
        return f"---\n{written}---\n{sections}"

    def store(self, path: Path, lineage: Mapping[str, Any] | None = None) -> prompts.Prompt:
        """Write the prompt to a new file, whole or not at all, once it was read back as the same.

        Raises:
            PromptError: it cannot be written, is there already, or holds lines that look like a section.
        """
        fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                file.write(self.text(lineage).encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            found = prompts.read(fresh, path.parent.name, path.stem)
            if found.messages != self.messages or found.examples != tuple(dict(one) for one in self.examples):
                raise PromptError(f"{path}: would be read back as another prompt: its text holds lines like '# user'")
            os.link(fresh, path)  # fails where another process was faster
        except (OSError, UnicodeEncodeError) as error:
            raise PromptError(f"the prompt {path} cannot be written: {error}") from error
        finally:
            fresh.unlink(missing_ok=True)
        return found


class _Dumper(yaml.SafeDumper):
    """YAML that this project reads: no aliases; text of several lines in double quotes, on one."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if value.isalnum() else '"')


_Dumper.add_representer(str, _text)


def escape_template(text: str) -> str:
    """Text that is no template, as a template."""
    return text.replace("$", "$$")


def _place(messages: Messages) -> tuple[int, int]:
    """Section and length of the instruction; -1 where there is no room for one."""
    for n, (role, text) in enumerate(messages):
        if role == "system":
            return n, len(text)
    last = len(messages) - 1
    role, text = messages[last]
    spots = [
        match.start()
        for match in string.Template.pattern.finditer(text)
        if match.group("named") or match.group("braced")
    ]
    end = text.rfind("\n", 0, min(spots)) + 1 if spots else len(text)
    return (last, end) if role == "user" and text[:end].strip() else (-1, 0)
