"""A chat model as judge: votes between two lettered choices whose order is mixed, and a reading that may fail."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from llmkit import prompts
from llmkit.errors import ReplyError
from llmkit.evaluation.metrics.normalize import read_answer, strip_marks
from llmkit.evaluation.metrics.vote import read_vote
from llmkit.models.ask import ask_model
from llmkit.models.chat import ChatModelSpec, load_chat
from llmkit.models.response_cache import CALL_LOG, CallLog
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

_VARIABLES = ("question", "evidence", "answer", "first", "second")
_CHOICES = ("The evidence supports the answer.", "The evidence does not support the answer.")


class Judge(Part):
    """Asks a model whether the passages support the answer; the score is the share of votes that say so.

    Each vote sees the passages in another order and the two choices in another order, so that a preference for a place
    cancels out. Votes are read strictly (:mod:`llmkit.evaluation.metrics.vote`): prose casts none. A reply without one
    counts for neither side; where half of the replies or more have none, the sample is unscored.
    ``llmkit eval --calibrate`` measures how far such a judge agrees with people.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "judge"
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "label"}

    model: ChatModelSpec
    """Chat model that judges."""
    prompt: Annotated[str, prompts.PromptRef(*_VARIABLES)] = "judge@v1"
    """Prompt with the variables question, evidence, answer, first and second."""
    votes: int = Field(default=3, ge=1, le=25)
    """How often it is asked; with one vote, the order of the choices is left to chance."""

    def figures(self) -> Mapping[str, Figure]:
        """One share."""
        return {"judged": Figure(f"Votes of {self.model.model} that the passages support the answer")}

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Nothing for an abstention: it claims nothing."""
        answer = read_answer(state)
        if isinstance(answer, str):
            return {"judged": Score.unscored(answer)}
        if answer.abstained:
            return {}
        if not state.hits:
            return {"judged": Score.unscored("there are no passages to judge by")}
        votes = [self._vote(sample, state, n) for n in range(self.votes)]
        read = [vote for vote in votes if vote is not None]
        if 2 * len(read) <= len(votes):
            return {"judged": Score.unscored(f"{len(votes) - len(read)} of {len(votes)} votes could not be read")}
        return {"judged": Score(sum(read) / len(read))}

    def with_models(self, load: Callable[[ChatModelSpec], BaseChatModel]) -> Judge:
        """The same judge, its model made by `load`: from a cache, from a recording."""
        judge = self.replace()
        judge.__dict__["_chat"] = load(self.model)
        return judge

    @cached_property
    def _chat(self) -> BaseChatModel:
        return load_chat(self.model)

    def _vote(self, sample: Sample, state: State, n: int) -> bool | None:
        """One vote; None where it cannot be read."""
        assert state.answer is not None
        chance = random.Random(f"{sample.id} {n // 2}")  # noqa: S311
        passages = [hit.chunk.text for hit in state.hits]
        chance.shuffle(passages)
        turned = (chance.random() < 0.5) != bool(n % 2)  # votes come in pairs, the second one turned round
        first, second = reversed(_CHOICES) if turned else _CHOICES
        messages = prompts.load(self.prompt).render(
            {
                "question": sample.question,
                "evidence": "\n\n".join(passages),
                "answer": strip_marks(state.answer.text),
                "first": first,
                "second": second,
            }
        )
        token = CALL_LOG.set(CallLog(f"judge {sample.id}", n))
        try:
            reply = ask_model(self._chat, messages)
        except ReplyError:
            return None  # a judge that says nothing casts no vote
        finally:
            CALL_LOG.reset(token)
        letter = read_vote(reply.text)
        return None if letter is None else (letter == "A") != turned
