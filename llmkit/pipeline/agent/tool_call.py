"""Step ``tool-call``: one decision of an agent, which tool to call and with which arguments."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from llmkit.agents.tool import Toolbox
from llmkit.errors import DataError, LlmkitError
from llmkit.models.chat import ChatModelSpec, translate
from llmkit.models.tool_protocol import call_text
from llmkit.part import Part
from llmkit.prompts import PromptRef
from llmkit.protocols import Context
from llmkit.registry import one_of
from llmkit.types import Answer, State, Usage


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
        """Fill ``state.answer``. The input ``before`` may hold earlier calls and their results.

        Raises:
            DataError: ``before`` is no list of name, arguments and result.
            LlmkitError: the model failed.
        """
        specs = [tool.spec() for box in self.tools for tool in box.tools()]
        messages = [(one.role, one.content) for one in ctx.prompt(self.prompt).render({"question": state.question})]
        try:
            model: Any = ctx.model(self.model)
            reply = model.bind_tools(specs).invoke([*messages, *_earlier_calls(state.inputs.get("before", ()))])
        except LlmkitError:
            raise
        except Exception as error:
            raise translate(error) from error
        counts = reply.usage_metadata or {}
        ctx.record(usage=Usage(counts.get("input_tokens", 0), counts.get("output_tokens", 0), 1))
        malformed = [{"text": one["args"], "why": one["error"]} for one in reply.invalid_tool_calls]
        ctx.record(calls=len(reply.tool_calls), invalid=malformed)
        if not reply.tool_calls:
            return state.replace(answer=Answer(reply.text or "".join(str(one["text"]) for one in malformed)))
        first = reply.tool_calls[0]
        return state.replace(answer=Answer(call_text(first["name"], first["args"])))


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
