"""Instructions written by a model, from what went wrong (after OPRO, Yang et al. 2023; MIPRO, Opsahl-Ong et al. 2024).

What a model writes is data: dollar signs are escaped, the variables of the old instruction must come back and no others
do, and what is empty, too long or the same as before is refused and counted.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, field

from llmkit import prompts
from llmkit.errors import PromptError, ReplyError
from llmkit.experiments.optimise.candidates import Candidate, escape_template
from llmkit.experiments.optimise.traces import Attempt
from llmkit.models.ask import ask_model
from llmkit.models.response_cache import CALL_LOG, CallLog
from llmkit.types import Usage

TIPS = (
    "Be specific about the form of the answer.",
    "Be as short as you can.",
    "Describe the steps that lead to the answer.",
    "Say which mistake is made most often and how to avoid it.",
    "Say who is answering and what they are good at.",
)
_LONGEST = 2000  # characters of an instruction
_SHOWN = 4  # failures
_CUT = 600  # characters of a question or a reply


@dataclass
class Proposer:
    """Asks a model for instructions."""

    model: object
    """A LangChain chat model."""
    prompt: str
    """With the variables ``instruction``, ``failures`` and ``tip``."""
    usage: Usage = field(default_factory=Usage)
    """Of the calls that were made, remembered ones left out."""
    refused: list[str] = field(default_factory=list)
    """Why proposals were refused."""

    def propose(self, candidate: Candidate, failures: Sequence[Attempt], number: int) -> Candidate | None:
        """One proposal, the same one for the same number; None where it is refused.

        Raises:
            LlmkitError: the model failed.
        """
        tip = TIPS[number % len(TIPS)]
        values = {"instruction": candidate.instruction or "(none)", "failures": _told(failures), "tip": tip}
        log = CallLog(f"proposal {number}")
        token = CALL_LOG.set(log)
        try:
            reply = ask_model(self.model, prompts.load(self.prompt).render(values), require="anything")
        finally:
            CALL_LOG.reset(token)
        if not all(call["cached"] for call in log.calls):
            self.usage += reply.usage
        try:
            instruction = check_instruction(reply.as_whole().text, candidate.instruction)
        except ReplyError as error:
            self.refused.append(str(error))
            return None
        except PromptError as error:
            self.refused.append(str(error))
            return None
        return candidate.with_instruction(instruction, f"proposed by a model: {tip}")


def check_instruction(reply_text: str, before: str) -> str:
    """What a model wrote, as the template of an instruction.

    Raises:
        PromptError: says why it cannot be one.
    """
    text = reply_text.strip().strip("`").strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    if not text:
        raise PromptError("the proposal is empty")
    if len(text) > _LONGEST:
        raise PromptError(f"the proposal has {len(text)} characters, more than {_LONGEST}")
    variables = string.Template(before).get_identifiers()
    template = escape_template(text)
    for name in variables:
        template = re.sub(rf"\$\$(?:{name}\b|\{{{name}\}})", f"${{{name}}}", template)
    missing = [name for name in variables if name not in string.Template(template).get_identifiers()]
    if missing:
        raise PromptError(f"the proposal lost ${', $'.join(missing)}")
    if template == before:
        raise PromptError("the proposal is the instruction as it was")
    return template


def _told(failures: Sequence[Attempt]) -> str:
    return "\n\n".join(_one(failure) for failure in failures[:_SHOWN]) or "(none: it was right each time)"


def _one(failure: Attempt) -> str:
    right = " / ".join(failure.sample.answers)
    return f"Question: {failure.sample.question[:_CUT]}\nReply: {failure.raw[:_CUT]}\nRight: {right[:_CUT]}"
