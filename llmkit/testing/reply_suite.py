"""The conformance suite of replies: whatever asks a chat model gives the right thing or says what went wrong.

Inherit :class:`ReplySuite` in a test module and say how your part asks::

    class TestMyStep(ReplySuite):
        def ask(self, model):
            state = Pipeline(name="x", model=model, steps=["my-step"]).run("What does the pump cost?")
            return Asked(state.answer.text, state.records[0].detail.get("notes", ()))

Every behaviour of :mod:`llmkit.testing.reply_behaviours` becomes a test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from llmkit.errors import LlmkitError
from llmkit.testing.reply_behaviours import BEHAVIOURS, Behaviour
from llmkit.testing.reply_server import ReplyServer
from llmkit.testing.reply_wire import TEXT


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a question."""

    text: str
    notes: Sequence[str] = ()
    """What the user is told beside it."""


def behaviours(*kinds: str) -> list[Any]:
    """Parameters of pytest: the behaviours of these kinds, named."""
    return [pytest.param(one, id=name) for name, one in BEHAVIOURS.items() if one.kind in kinds]


class ReplySuite:
    """Tests of something that asks a chat model."""

    TEXT: ClassVar[str] = TEXT
    """What a server without fault answers here. Give one with a character outside the basic plane where you can."""
    FALLBACK: ClassVar[str | None] = None
    """The result where there is no usable reply and the work goes on without; None: that is an error."""
    UNUSED: ClassVar[str] = "(?!)"
    """Regular expression for further words with which a reply that cannot be used is told."""

    _known: ClassVar[dict[type, str]] = {}

    def ask(self, model: Mapping[str, Any]) -> Asked:
        """Ask the model of a spec once.

        Raises:
            LlmkitError: there is no result.
        """
        raise NotImplementedError

    def answer(self, body: Mapping[str, Any]) -> str:
        """What a server without fault answers to a request, where it depends on the request."""
        return self.TEXT

    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[ReplyServer]:
        """The scripted server, which OPENAI_BASE_URL names."""
        with ReplyServer(self.answer) as server:
            monkeypatch.setenv("OPENAI_BASE_URL", server.url)
            yield server

    @pytest.mark.parametrize("behaviour", behaviours("reply"))
    def test_the_right_thing_or_what_went_wrong(self, server: ReplyServer, behaviour: Behaviour) -> None:
        """A reply is used, or somebody is told why it is not."""
        self.check(server, behaviour)

    def check(self, server: ReplyServer, behaviour: Behaviour) -> None:
        """One behaviour: as it should be."""
        right = self._right()
        server.reset()
        asked, error = None, ""
        try:
            seconds = 0.4 if "silent" in behaviour.says else 30.0  # of the servers that never go on
            asked = self.ask(self.spec(behaviour.name, retries=behaviour.retries, timeout=seconds))
        except LlmkitError as raised:
            error = str(raised)
        if asked is None:
            assert behaviour.outcome != "right", f"{behaviour.name}: {error}"
            assert re.search(f"{behaviour.says}|{self.UNUSED}", error, re.DOTALL), f"{behaviour.name}: {error}"
            error.encode()
            return
        told = " | ".join(asked.notes)
        (asked.text + told).encode()
        assert "SECRET" not in asked.text, asked.text
        if behaviour.outcome == "right":
            assert asked.text == right, told
            return
        words = re.search(f"{behaviour.says}|{self.UNUSED}", told, re.DOTALL)
        if behaviour.outcome == "told":
            assert words, f"{behaviour.name}: nothing was told ({asked.text!r}; {told!r})"
        else:
            assert self.FALLBACK is not None, f"{behaviour.name} gave {asked.text!r}"
            assert asked.text == self.FALLBACK
            assert words, f"{behaviour.name}: nothing was told ({told!r})"

    def _right(self) -> str:
        """The result with a server without fault, asked for once a class."""
        known: dict[type, str] = ReplySuite._known
        if type(self) not in known:
            known[type(self)] = self.ask(self.spec("plain")).text
        return known[type(self)]

    def spec(self, name: str, **fields: Any) -> dict[str, Any]:
        """The spec of a model that behaves as named."""
        return {"model": f"openai:{name}", "retries": 0, "timeout": 30.0, **fields}
