"""One label of a list for a text, read strictly."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from llmkit import prompts
from llmkit.errors import DataError
from llmkit.models.chat import ChatModelSpec, schema_options
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import Asking, known_values
from llmkit.protocols import Context
from llmkit.refine.loop import Limits
from llmkit.refine.vote import extract
from llmkit.types import Answer, Event, State


class Classify(Part):
    """Asks which one of some labels the question, which is the text, has; the answer is that label.

    Where the model's runtime can be held to a schema it can reply with nothing else. A reply that names no label, or
    several, is an error of the step, which evaluations count: nothing is guessed.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "classify"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "label"}

    labels: tuple[str, ...] = Field(min_length=2)
    """Every label there is."""
    prompt: str = "classify@v1"
    """Prompt with the variables ``question`` and ``labels``."""
    constrain: bool = True
    """Whether the model is held to the labels while it writes, where its runtime can."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @field_validator("labels")
    @classmethod
    def _can_be_told_apart(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not label.strip() or "\n" in label for label in value):
            raise ValueError("a label is one line that is not empty")
        for label in value:
            if extract(label, "label", value) is None:
                raise ValueError(f"the label {label!r} cannot be told from another one")
        return value

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, ("question", "labels"))

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the label.

        Raises:
            DataError: the reply names no label, or several.
        """
        schema = {"type": "string", "enum": list(self.labels)}
        options = schema_options(ctx.model(self.model), schema) if self.constrain else {}
        asking = Asking(ctx, Limits(0), temperature=None, seed=None)
        values = known_values(state, labels="\n".join(self.labels))
        reply = asking.ask(self.model, self.prompt, values, state.history, options=options)
        label = extract(reply, "label", self.labels)
        asking.close(raw=reply, label=label, constrained=bool(options))
        if label is None:
            raise DataError(f"the reply names no label, or several: {reply[:200]!r}")
        ctx.emit(Event("token", text=label))
        return state.replace(answer=Answer(label))
