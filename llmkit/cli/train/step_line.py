"""The line that shows the progress of a training."""

from __future__ import annotations

from llmkit.cli.common.render import duration
from llmkit.training.loop import StepReport


def step_line(report: StepReport, measure: str) -> str:
    """Loss, the last dev figure, speed, time left and memory.

    Args:
        report: the state after a step.
        measure: the dev figure that is shown.
    """
    dev = f", dev {measure} {report.dev[measure]:.4f}" if report.dev else ""
    memory = f", {report.peak_mb:.0f} MB" if report.peak_mb else ""
    return (
        f"loss {report.loss:.4f}{dev}, {report.tokens_per_second:.0f} tokens/s, "
        f"{duration(report.seconds_left)} left{memory}"
    )
