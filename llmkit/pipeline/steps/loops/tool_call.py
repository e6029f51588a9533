"""One decision of an agent: which tool, with what."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator

from llmkit import prompts
from llmkit.agents.tool import Toolbox
from llmkit.errors import DataError, ReplyError
from llmkit.models.ask import ask_model
from llmkit.models.chat import ChatModelSpec
from llmkit.models.tool_protocol import call_text
from llmkit.part import Part
from llmkit.pipeline.ask import record_reply
from llmkit.protocols import Context
from llmkit.registry import one_of
from llmkit.types import Answer, State


class ToolCallStep(Part):
    """Asks the model once with tools and answers with the call it makes, as JSON, or with its text; calls nothing."""

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "tool-call"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    tools: tuple[Annotated[Toolbox, one_of("tool")], ...] = Field(min_length=1)
    """What is offered; each is a word or a mapping with 'type'."""
    prompt: str = "agent@v1"
    """Prompt with the variable ``question``."""
    model: ChatModelSpec | None = None
    """Chat model of this step; the pipeline's where it names none."""

    @field_validator("prompt")
    @classmethod
    def _prompt_is_there(cls, value: str) -> str:
        return prompts.with_variables(value, ("question",))

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer``; the input ``before`` holds calls that were made and their results."""
        specs = [tool.spec() for box in self.tools for tool in box.tools()]
        prompt = ctx.prompt(self.prompt).render({"question": state.question})
        messages = [(one.role, one.content) for one in prompt]
        model: Any = ctx.model(self.model)
        try:
            reply = ask_model(
                model.bind_tools(specs),
                [*messages, *_before(state.inputs.get("before", ()))],
                tools=[spec["function"]["name"] for spec in specs],
            )
        except ReplyError as error:
            record_reply(error.reply, ctx)
            raise
        record_reply(reply, ctx)
        for warning in reply.warnings:
            ctx.note(warning)
        good = [call for call in reply.tool_calls if not call.problem]
        broken = [call for call in reply.tool_calls if call.problem]
        ctx.record(calls=len(good), invalid=[{"text": call.raw, "why": call.problem} for call in broken])
        if good:
            return state.replace(answer=Answer(call_text(good[0].name, good[0].arguments)))
        text = reply.text or "".join(call.raw for call in broken)
        return state.replace(answer=Answer(text, finish_reason=reply.finish_reason))


def _before(calls: Any) -> list[Any]:
    from langchain_core.messages import AIMessage, ToolMessage

    messages: list[Any] = []
    try:
        for n, call in enumerate(calls, 1):
            made = {"name": call["name"], "args": call["arguments"], "id": f"call_{n}", "type": "tool_call"}
            messages += [
                AIMessage("", tool_calls=[made]),
                ToolMessage(call["result"], name=call["name"], tool_call_id=f"call_{n}"),
            ]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError("the input 'before' is a list of {name, arguments, result}") from error
    return messages
