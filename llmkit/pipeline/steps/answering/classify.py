"""Step ``classify``: one label of a list for a text."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, field_validator

from llmkit import prompts
from llmkit.errors import DataError
from llmkit.models.chat import ChatModelSpec, schema_options
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import ModelCalls, prompt_values
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.refine.loop import Limits
from llmkit.refine.vote import extract_answer
from llmkit.types import Answer, Event, State


class Classify(Part):
    """Asks which of the labels fits the question, which is the text to classify; the answer is that label.

    Where the model's runtime can be constrained to a schema, the reply can be nothing but a label. Elsewhere, a reply
    that names no label or several is an error of the step, which evaluations count. The step never guesses.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "classify"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})
    reads: ClassVar[dict[str, prompts.Output]] = {"prompt": "label"}

    labels: tuple[str, ...] = Field(min_length=2)
    """All labels."""
    prompt: Annotated[str, PromptRef("question", "labels")] = "classify@v1"
    """Prompt with the variables ``question`` and ``labels``."""
    constrain: bool = True
    """Whether generation is constrained to the labels, where the model's runtime can do that."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""

    @field_validator("labels")
    @classmethod
    def _check_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not label.strip() or "\n" in label for label in value):
            raise ValueError("a label is one line that is not empty")
        for label in value:
            if extract_answer(label, "label", value) is None:
                raise ValueError(
                    f"the label {label!r} equals or contains another label: a reply could not tell them apart"
                )
        return value

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer`` with the label.

        Raises:
            DataError: the reply names no label, or several.
        """
        schema = {"type": "string", "enum": list(self.labels)}
        options = schema_options(ctx.model(self.model), schema) if self.constrain else {}
        calls = ModelCalls(ctx, Limits(0), temperature=None, seed=None)
        values = prompt_values(state, labels="\n".join(self.labels))
        reply = calls.ask(self.model, self.prompt, values, state.history, options=options)
        label = extract_answer(reply, "label", self.labels)
        calls.write_record(raw=reply, label=label, constrained=bool(options))
        if label is None:
            raise DataError(f"the reply names no label, or several: {reply[:200]!r}")
        ctx.emit(Event("token", text=label))
        return state.replace(answer=Answer(label))
