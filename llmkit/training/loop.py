"""The training loop of retrievers, rerankers and adapters.

::

    batches of an epoch ─ one step each: gradients accumulated, clipped, AdamW ─┬─ evaluation on the dev set
                                                                               ├─ best parameters kept, early stopping
                                                                               └─ checkpoint

A training gives an :class:`Objective`: its batches, their loss and its dev figures. Everything else is here. The order
of the data is a function of the seed and the epoch, and the random state is part of the checkpoint, so a training that
was killed continues with the same losses.
"""

from __future__ import annotations

import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn, Protocol

from llmkit import cancellation
from llmkit.errors import Cancelled, DataError
from llmkit.training.checkpoint import Checkpoint, TrainingState

Note = Callable[[str], None]
"""Receives one line that the user should read."""

_SHOWN_PLACES = 8
_RECENT = 20  # steps over which the loss of a report is averaged


@dataclass(frozen=True, slots=True)
class LossPart:
    """One micro-batch of a step: the loop calls ``tensor.backward(gradient)`` as soon as it receives the part."""

    tensor: Any
    """A tensor with a graph; a scalar unless `gradient` is given."""
    loss: float
    """What this part adds to the loss of the step."""
    places: tuple[str, ...] = ()
    """File and line of its rows, for the message about a loss that is not a number."""
    tokens: int = 0
    """Tokens of its rows, padding not counted."""
    gradient: Any = None
    """The gradient of the loss by `tensor`, where an earlier part computed it (GradCache)."""


class Objective(Protocol):
    """What a training minimises."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The torch parameters that learn, by name."""
        ...

    def parameter_groups(self) -> list[dict[str, Any]]:
        """AdamW's groups: ``params``, the highest ``lr``, ``weight_decay``."""
        ...

    def batches(self, epoch: int) -> Sequence[Any]:
        """The batches of an epoch, in order; the same for the same epoch each time."""
        ...

    def loss_parts(self, batch: Any, step: int) -> Iterable[LossPart]:
        """The loss of a batch as micro-batches whose losses add up; `step` counts from 0."""
        ...

    def evaluate(self) -> Mapping[str, float]:
        """Figures on the dev set; empty if there is none."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How long and how fast a training learns."""

    steps: int
    """Steps that the learning rate is planned over; the training ends after them unless `epochs` is given."""
    epochs: int | None = None
    """The training ends after so many epochs."""
    schedule: Callable[[int, int, float], float]
    """Factor of the learning rate: (step from 0, steps, warmup share) to [0, 1]; :func:`linear` or :func:`cosine`."""
    warmup: float
    """Share of the steps in which the learning rate rises."""
    clip: float
    """Longest gradient; a longer one is scaled down to this length."""
    seed: int
    measure: str
    """The dev figure that chooses the best step."""
    minimise: bool = False
    """Whether a lower figure is better. Of two equal figures the later step is kept then; else the earlier."""
    evaluate_first: bool = False
    """Evaluate before the first step, too."""
    evaluate_every: int | None = None
    """Steps between evaluations; none: one at the end of each epoch. The last step is always evaluated."""
    patience: int | None = None
    """Stop after so many evaluations without a better one; none: never."""
    checkpoint_every: int = 25
    """Steps between checkpoints."""
    initial_best: float = float("-inf")
    """A figure that an evaluation must exceed; if none does, the parameters of the start are kept."""


@dataclass(frozen=True)
class StepReport:
    """The state after one step, for progress displays."""

    step: int
    """Steps done."""
    steps: int
    """Steps planned; early stopping ends before."""
    loss: float
    """Mean over the last 20 steps."""
    dev: Mapping[str, float]
    """The last evaluation: ``step`` and its figures; empty before the first."""
    tokens_per_second: float
    """Since this run of the command started."""
    seconds_left: float
    """Without early stopping."""
    peak_mb: float | None
    """Largest resident memory of the process, in MB."""


def linear(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: up in a line over the warmup, then down in a line to 0."""
    rise = max(1, round(warmup * steps))
    return (step + 1) / rise if step < rise else max(0.0, (steps - step) / max(1, steps - rise))


def cosine(step: int, steps: int, warmup: float) -> float:
    """Factor of the learning rate: up in a line over the warmup, then along a cosine down to a tenth."""
    rise = math.ceil(warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.1 + 0.9 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise))) / 2


class TrainingLoop:
    """One training, from its first step or from its checkpoint.

    Args:
        objective: what is minimised.
        settings: how long and how fast.
        checkpoint: where an unfinished training is kept.
        note: receives what the user should read.
        on_step: receives a report after each step.
    """

    def __init__(
        self,
        objective: Objective,
        settings: LoopSettings,
        checkpoint: Checkpoint,
        note: Note = lambda _: None,
        on_step: Callable[[StepReport], None] = lambda _: None,
    ) -> None:
        import torch

        self.objective, self.settings, self.checkpoint = objective, settings, checkpoint
        self.note, self.on_step = note, on_step
        self.optimizer = torch.optim.AdamW(objective.parameter_groups())
        self._rates = [group["lr"] for group in self.optimizer.param_groups]
        self.state = TrainingState()
        self._evaluated_step = -1
        self._saved_step = 0

    def run(self) -> TrainingState:
        """Train to the end, and leave the best parameters in the model.

        SIGINT (Ctrl-C) and SIGTERM end the training after the current step with a checkpoint; a second SIGINT ends it
        at once.

        Raises:
            DataError: a loss or gradient that is not a number (the message names step and rows; the last checkpoint
                stays), a checkpoint of another training, or a disk that cannot be written.
            KeyboardInterrupt: after SIGINT, with the checkpoint written.
            SystemExit: after SIGTERM, with the checkpoint written.
            Cancelled: whoever runs the training has called it off.
        """
        restored = self.checkpoint.load(self.objective.parameters, self.optimizer)
        if restored is not None:
            self.state = restored
            self._saved_step = restored.step
            self.note(f"continuing after step {restored.step} of the training in {self.checkpoint.folder}")
        else:
            self._start()
        started, seconds_before = time.monotonic(), self.state.seconds
        step_before, tokens_before = self.state.step, self.state.tokens
        with _deferred_signals() as received:
            for batch, ends_epoch in self._batches():
                self._step(batch)
                self._advance(ends_epoch)
                self.state.seconds = seconds_before + time.monotonic() - started
                if self.state.done or self.state.step % self.settings.checkpoint_every == 0:
                    self._save()
                elapsed = max(time.monotonic() - started, 1e-9)
                rate = (self.state.tokens - tokens_before) / elapsed
                left = elapsed / (self.state.step - step_before) * max(0, self.settings.steps - self.state.step)
                self.on_step(self._report(rate, left))
                if self.state.done:
                    break
                if received or cancellation.is_cancelled():
                    self._interrupt(received)
        if self.state.dev:
            self.checkpoint.load_best(self.objective.parameters, self.state.best_step)
        return self.state

    def _start(self) -> None:
        import torch

        torch.manual_seed(self.settings.seed)
        self.state.best = self.settings.initial_best
        if self.settings.evaluate_first:
            self._evaluate()
            self._save()
        elif math.isfinite(self.state.best):
            self.checkpoint.save_best(self.objective.parameters, 0)

    def _batches(self) -> Iterator[tuple[Any, bool]]:
        """The batches that are still to do, and whether each is the last of its epoch."""
        while not self.state.done:
            batches = self.objective.batches(self.state.epoch)
            for position in range(self.state.batch, len(batches)):
                yield batches[position], position == len(batches) - 1
            if not batches:  # an epoch whose texts were too alike for any batch
                self.state.epoch += 1
                self.state.done = self.state.epoch == self.settings.epochs

    def _step(self, batch: Any) -> None:
        import torch

        factor = self.settings.schedule(self.state.step, self.settings.steps, self.settings.warmup)
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        self.optimizer.zero_grad(set_to_none=True)
        loss, tokens, places = accumulate(self.objective.loss_parts(batch, self.state.step))
        if not math.isfinite(loss):
            self._refuse("loss", loss, places)
        norm = float(torch.nn.utils.clip_grad_norm_(list(self.objective.parameters.values()), self.settings.clip))
        if not math.isfinite(norm):
            self._refuse("gradient", norm, places)
        self.optimizer.step()
        self.state.losses.append(loss)
        self.state.tokens += tokens

    def _advance(self, ends_epoch: bool) -> None:
        """Count the step, and evaluate where the settings ask for it."""
        state, settings = self.state, self.settings
        state.step += 1
        state.batch += 1
        if ends_epoch:
            state.epoch, state.batch = state.epoch + 1, 0
        last = state.step == settings.steps if settings.epochs is None else state.epoch == settings.epochs
        due = ends_epoch if settings.evaluate_every is None else state.step % settings.evaluate_every == 0
        if due or last:
            self._evaluate()
        state.done |= last

    def _evaluate(self) -> None:
        state, settings = self.state, self.settings
        figures = self.objective.evaluate()
        if not figures:
            state.best_step = state.step
            return
        state.dev.append({"step": state.step, **figures})
        value = -figures[settings.measure] if settings.minimise else figures[settings.measure]
        if value > state.best or (settings.minimise and value == state.best):
            state.best, state.best_step, state.evaluations_since_best = value, state.step, 0
            self.checkpoint.save_best(self.objective.parameters, state.step)
            return
        state.evaluations_since_best += 1
        state.done |= settings.patience is not None and state.evaluations_since_best >= settings.patience

    def _save(self) -> None:
        self.checkpoint.save(self.objective.parameters, self.optimizer, self.state)
        self._saved_step = self.state.step

    def _interrupt(self, received: Sequence[int]) -> NoReturn:
        self._save()
        self.note(f"stopped after step {self.state.step}; the same command continues from {self.checkpoint.folder}")
        if not received:
            raise Cancelled
        if received[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + received[0])

    def _refuse(self, what: str, value: float, places: Sequence[str]) -> NoReturn:
        state = self.state
        shown = ", ".join(places[:_SHOWN_PLACES])
        more = f" and {len(places) - _SHOWN_PLACES} more" if len(places) > _SHOWN_PLACES else ""
        kept = (
            f"; the state after step {self._saved_step} is in {self.checkpoint.file}"
            if self.checkpoint.file.is_file()
            else ""
        )
        raise DataError(
            f"the {what} is {value}, not a finite number, at step {state.step + 1} (epoch {state.epoch + 1}, batch "
            f"{state.batch + 1}), whose rows are {shown}{more}. Look at these rows, lower `lr`, or set `precision` to "
            f"32 bits{kept}"
        )

    def _report(self, tokens_per_second: float, seconds_left: float) -> StepReport:
        recent = self.state.losses[-_RECENT:]
        return StepReport(
            self.state.step,
            self.settings.steps,
            sum(recent) / len(recent),
            self.state.dev[-1] if self.state.dev else {},
            tokens_per_second,
            seconds_left,
            peak_mb(),
        )


def accumulate(parts: Iterable[LossPart]) -> tuple[float, int, list[str]]:
    """Add the gradients of the parts to the parameters.

    Returns:
        The loss, the tokens, and the places of the rows. Where the loss is not finite, the places are those of the
        part that made it so, and no gradient of this part is added.
    """
    loss, tokens, places = 0.0, 0, list[str]()
    for part in parts:
        loss += part.loss
        if not math.isfinite(loss):
            return loss, tokens, list(part.places)
        part.tensor.backward(part.gradient)
        tokens += part.tokens
        places += part.places
    return loss, tokens, places


@contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of ending the process; a second SIGINT raises KeyboardInterrupt at once."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received  # only the main thread can set handlers
        return

    def handle(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def peak_mb() -> float | None:
    """Largest resident memory of this process so far, in MB of 2²⁰ bytes; None on Windows, which does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
