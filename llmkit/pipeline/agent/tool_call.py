"""Step ``tool-call``: one decision of an agent, which tool to call and with which arguments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from llmkit.agents.tool import Toolbox
from llmkit.errors import DataError, ReplyError
from llmkit.models.ask import ask_model
from llmkit.models.chat import ChatModelSpec
from llmkit.models.tool_protocol import format_call
from llmkit.part import Part
from llmkit.pipeline.steps.model_calls import record_reply
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.registry import one_of
from llmkit.types import Answer, State


class ToolCallStep(Part):
    """Asks the model once with tools. The answer is the call that the model makes, as JSON, or its text.

    The step does not run the call.
    """

    family: ClassVar[str] = "step"
    type: ClassVar[str] = "tool-call"
    needs: ClassVar[frozenset[str]] = frozenset({"question"})
    gives: ClassVar[frozenset[str]] = frozenset({"answer"})

    tools: tuple[Annotated[Toolbox, one_of("tool")], ...] = Field(min_length=1)
    """The tools to offer; each is a word or a mapping with 'type'."""
    prompt: Annotated[str, PromptRef("question")] = "agent@v1"
    """Prompt with the variable ``question``."""
    model: ChatModelSpec | None = None
    """Chat model of this step; null: the pipeline's."""

    def run(self, state: State, ctx: Context) -> State:
        """Fill ``state.answer``. The input ``before`` may contain earlier calls and their results.

        Raises:
            DataError: ``before`` is no list of name, arguments and result.
            LlmkitError: the model failed.
        """
        specs = [tool.spec() for box in self.tools for tool in box.tools()]
        prompt = ctx.prompt(self.prompt).render({"question": state.question})
        messages = [(one.role, one.content) for one in prompt]
        model: Any = ctx.model(self.model)
        try:
            reply = ask_model(
                model.bind_tools(specs),
                [*messages, *_earlier_calls(state.inputs.get("before", ()))],
                tools=[spec["function"]["name"] for spec in specs],
            )
        except ReplyError as error:
            record_reply(error.reply, ctx)
            raise
        record_reply(reply, ctx)
        for warning in reply.warnings:
            ctx.note(warning)
        good = [call for call in reply.tool_calls if not call.problem]
        malformed = [call for call in reply.tool_calls if call.problem]
        ctx.record(calls=len(good), invalid=[{"text": call.raw, "why": call.problem} for call in malformed])
        if good:
            return state.replace(answer=Answer(format_call(good[0].name, good[0].arguments)))
        text = reply.text or "".join(call.raw for call in malformed)
        return state.replace(answer=Answer(text, finish_reason=reply.finish_reason))


def _earlier_calls(calls: Any) -> list[Any]:
    """Earlier calls and their results as LangChain messages."""
    from langchain_core.messages import AIMessage, ToolMessage

    messages: list[Any] = []
    try:
        for n, call in enumerate(calls, 1):
            request = {"name": call["name"], "args": call["arguments"], "id": f"call_{n}", "type": "tool_call"}
            messages += [
                AIMessage("", tool_calls=[request]),
                ToolMessage(call["result"], name=call["name"], tool_call_id=f"call_{n}"),
            ]
    except (TypeError, KeyError, ValueError) as error:
        raise DataError("the input 'before' is a list of {name, arguments, result}") from error
    return messages
