"""The tool calls of one reply: which may be made, and in which order.

LangGraph starts the calls of a reply at once, in threads. A call that reads what another one writes must come after it,
so a reply in which any tool has side effects has its calls made one after the other, in the reply's order. Calls
without side effects run together. In both cases the budget admits calls in the reply's order, and results are recorded
in that order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from llmkit.errors import Cancelled

_CHECK_SECONDS = 0.1


class Turn:
    """The calls of one reply."""

    def __init__(self, calls: Sequence[str], admitted: int, *, in_order: bool) -> None:
        """Set the calls.

        Args:
            calls: their ids, in the order of the reply.
            admitted: how many of them the budget allows.
            in_order: whether each is made only after those before it.
        """
        self.calls = tuple(calls)
        self.in_order = in_order
        self._admitted = frozenset(self.calls[: max(0, admitted)])
        self._finished: set[str] = set()
        self._failed = False
        self._changed = threading.Condition()

    def admits(self, call: str) -> bool:
        """Whether the budget allows this call."""
        return call in self._admitted

    def wait_for_earlier(self, call: str, check: Callable[[], None]) -> None:
        """Wait until every earlier call of the reply is finished.

        Args:
            call: the id of the call that waits.
            check: called from time to time; raises an error once the run was stopped.

        Raises:
            Cancelled: an earlier call ended the run.
        """
        earlier = set(self.calls[: self.calls.index(call)]) if call in self.calls else set()
        while True:
            with self._changed:
                if self._failed:
                    raise Cancelled("an earlier call of the same reply ended the run")
                if earlier <= self._finished:
                    return
                self._changed.wait(_CHECK_SECONDS)
            check()

    def finish(self, call: str, *, failed: bool = False) -> None:
        """Let the next call go on; or, where the run ends with this one, none."""
        with self._changed:
            self._finished.add(call)
            self._failed = self._failed or failed
            self._changed.notify_all()
