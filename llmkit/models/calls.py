"""The calls a loaded model answers at a time, each in a thread, with a stream and an end of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from llmkit.errors import Cancelled, ModelError
from llmkit.models.local.adapter import Adapter
from llmkit.models.local.engine import Crashed, Done, Engine, Request, Turn
from llmkit.models.local.slot_queue import ALONE, ASKED_EVERY, Slots
from llmkit.stopping import called_off

_LONG = 500
"""Characters of a system text from which it is worth reading it for all slots at once."""
_SHARED = 256
"""System texts that are remembered as read."""

Load = Callable[[Mapping[str, Adapter]], Engine]
"""Loads the model with these adapters."""


class Calls:
    """One engine and who asks it."""

    def __init__(self, load: Load, adapters: Mapping[str, Adapter]) -> None:
        self._load = load
        self.adapters = dict(adapters)
        self._engine: Engine | None = load(adapters)
        self.slots = Slots(self._engine.slots)
        self._shared: dict[str, None] = {}

    @property
    def engine(self) -> Engine:
        """The engine; loaded anew where it has crashed."""
        engine = self._engine
        if engine is None:
            with self.slots.take(ALONE):  # what still runs ends by itself: the crash was told to every call
                engine = self._engine = self._engine or self._load(self.adapters)
                self._shared.clear()
        return engine

    def count(self, turns: Sequence[Turn]) -> int:
        """Tokens of the prompt; takes no slot where several can be asked at once."""
        engine = self.engine
        if engine.slots > 1:
            return engine.count(turns)
        with self.slots.take(None):
            return engine.count(turns)

    def set_adapter(self, name: str, adapter: Adapter) -> None:
        """Have an adapter under a name, between two calls.

        Raises:
            ModelError: it cannot be read, or has no effect; the adapters before stay.
        """
        engine = self.engine
        with self.slots.take(ALONE):
            adapters = {**self.adapters, name: adapter}
            engine.with_adapters(adapters)
            self.adapters = adapters

    def stream(self, request: Request, name: str) -> Iterator[str | Done]:
        """Pieces of text as they come, then Done. Closing the iterator stops the model at its next token.

        Raises:
            Cancelled: it was called off; the model has stopped.
            ModelError: the runtime's; after a crash the next call loads the model anew.
        """
        while True:
            engine = self.engine
            self._share(engine, request)
            with self.slots.take(request.adapter):
                if self._engine is not engine:
                    continue  # it crashed while this call waited
                yield from self._answer(engine, request, name)
                return

    def _share(self, engine: Engine, request: Request) -> None:
        """Have a system text read once for all slots where it is new and nothing runs; who comes meanwhile waits.

        Without it, users who come at once with one system text would each read it in a slot of their own.
        """
        role, text = request.turns[0] if request.turns else ("", "")
        if engine.slots == 1 or role != "system" or len(text) < _LONG or text in self._shared or not self.slots.idle:
            return
        self._shared[text] = None
        for old in list(self._shared)[:-_SHARED]:
            self._shared.pop(old, None)
        with self.slots.take(ALONE), suppress(ModelError):  # the call itself will say what is wrong
            engine.share(request.turns[:1])

    def _answer(self, engine: Engine, request: Request, name: str) -> Iterator[str | Done]:
        pieces: queue.Queue[str | Done | BaseException] = queue.Queue()
        stopped = threading.Event()

        def tell(text: str) -> bool:
            if text:
                pieces.put(text)
            return stopped.is_set()

        def work() -> None:
            try:
                pieces.put(engine.generate(request, tell))
            except BaseException as error:  # carried to the caller's thread
                if isinstance(error, Crashed) and self._engine is engine:
                    self._engine = None
                pieces.put(error)

        worker = threading.Thread(target=work, name=f"llmkit {name}", daemon=True)
        worker.start()
        try:
            while not called_off():
                try:
                    piece = pieces.get(timeout=ASKED_EVERY)
                except queue.Empty:
                    continue
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if isinstance(piece, Done):
                    return
            raise Cancelled("it was called off while the model answered")
        finally:
            stopped.set()
            worker.join()
