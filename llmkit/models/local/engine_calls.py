"""The calls of a loaded model: each runs in its own thread and streams its text; a crash reloads the model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from llmkit.cancellation import is_cancelled
from llmkit.errors import Cancelled, ModelError
from llmkit.models.local.adapter import Adapter
from llmkit.models.local.engine import Crashed, Done, Engine, Request, Turn
from llmkit.models.local.slot_queue import CHECK_SECONDS, EXCLUSIVE, SlotQueue

_LONG = 500
"""Minimum characters of a system text that is read once for all slots."""
_SHARED = 256
"""Maximum number of system texts that are remembered as read."""

Load = Callable[[Mapping[str, Adapter]], Engine]
"""Loads the model with these adapters."""


class EngineCalls:
    """One engine and the calls that use it."""

    def __init__(self, load: Load, adapters: Mapping[str, Adapter]) -> None:
        self._load = load
        self.adapters = dict(adapters)
        self._engine: Engine | None = load(adapters)
        self.slots = SlotQueue(self._engine.slots)
        self._shared: dict[str, None] = {}

    @property
    def engine(self) -> Engine:
        """The engine; loaded again after a crash."""
        engine = self._engine
        if engine is None:
            with self.slots.take(EXCLUSIVE):  # running calls end by themselves: each of them got the error
                engine = self._engine = self._engine or self._load(self.adapters)
                self._shared.clear()
        return engine

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of the prompt. Takes a slot only where the engine has one slot."""
        engine = self.engine
        if engine.slots > 1:
            return engine.count(turns)
        with self.slots.take(None):
            return engine.count(turns)

    def set_adapter(self, name: str, adapter: Adapter) -> None:
        """Load an adapter under a name, between two calls.

        Raises:
            ModelError: the adapter cannot be read, or has no effect; the earlier adapters stay.
        """
        engine = self.engine
        with self.slots.take(EXCLUSIVE):
            adapters = {**self.adapters, name: adapter}
            engine.with_adapters(adapters)
            self.adapters = adapters

    def stream(self, request: Request, name: str) -> Iterator[str | Done]:
        """Yield pieces of text as the model writes them, then Done. Closing the iterator stops it at its next token.

        Raises:
            Cancelled: the call was cancelled; the model has stopped.
            ModelError: the runtime failed; after a crash the next call loads the model again.
        """
        while True:
            engine = self.engine
            self._share(engine, request)
            with self.slots.take(request.adapter):
                if self._engine is not engine:
                    continue  # the engine crashed while this call waited
                yield from self._answer(engine, request, name)
                return

    def _share(self, engine: Engine, request: Request) -> None:
        """Read a new system text once for all slots while no call runs; calls that arrive meanwhile wait.

        Without this, calls that arrive together with one system text would each read it in their own slot.
        """
        role, text = request.turns[0] if request.turns else ("", "")
        if engine.slots == 1 or role != "system" or len(text) < _LONG or text in self._shared or not self.slots.idle:
            return
        self._shared[text] = None
        for old in list(self._shared)[:-_SHARED]:
            self._shared.pop(old, None)
        with self.slots.take(EXCLUSIVE), suppress(ModelError):  # the call itself will say what is wrong
            engine.share(request.turns[:1])

    def _answer(self, engine: Engine, request: Request, name: str) -> Iterator[str | Done]:
        pieces: queue.Queue[str | Done | BaseException] = queue.Queue()
        stopped = threading.Event()

        def on_text(text: str) -> bool:
            if text:
                pieces.put(text)
            return stopped.is_set()

        def work() -> None:
            try:
                pieces.put(engine.generate(request, on_text))
            except BaseException as error:  # carried to the caller's thread
                if isinstance(error, Crashed) and self._engine is engine:
                    self._engine = None
                pieces.put(error)

        worker = threading.Thread(target=work, name=f"llmkit {name}", daemon=True)
        worker.start()
        try:
            while not is_cancelled():
                try:
                    piece = pieces.get(timeout=CHECK_SECONDS)
                except queue.Empty:
                    continue
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if isinstance(piece, Done):
                    return
            raise Cancelled("the call was cancelled while the model answered")
        finally:
            stopped.set()
            worker.join()
