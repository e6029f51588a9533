"""What any metric must do. Inherit it and give the fixture ``metric``, and ``sample`` where it needs other columns."""

from __future__ import annotations

import math

import pytest

from llmkit.protocols import Metric
from llmkit.types import Answer, Chunk, Citation, Hit, Sample, State, StepRecord

_TEXT = "The pump is serviced in May by Ann."


def states() -> dict[str, State]:
    """What pipelines leave behind, from the usual to the odd."""
    chunk = Chunk("manual", 0, 0, len(_TEXT), _TEXT, 9)
    hit = Hit(chunk, 0.9)
    cited = Citation(1, "manual", "", chunk.id, 0, len(_TEXT), _TEXT, supported=True)
    called = {"kind": "tool", "name": "search", "arguments": {"query": "pump"}, "status": "ok"}
    work = {"trace": [called], "partial": False, "model_calls": 2, "tool_calls": 1}
    searched = (
        StepRecord("steps[0] retrieve", 0.01, detail={"k": 10}),
        StepRecord("steps[1] agent", 0.01, detail=work),
    )
    found = State("When is the pump serviced?", hits=(hit,), retrieved=(hit,), records=searched)
    return {
        "answered": found.replace(answer=Answer(f"{_TEXT} [1]", (cited,))),
        "abstained": found.replace(answer=Answer("Not found in these documents.", abstained=True)),
        "empty": found.replace(answer=Answer("")),
        "strange": found.replace(answer=Answer("\x00 [99] \u202e 😀 " * 50)),
        "no answer": found,
        "nothing": State("When?"),
    }


class MetricSuite:
    """Conformance to :class:`llmkit.protocols.Metric`."""

    @pytest.fixture
    def sample(self) -> Sample:
        """An answerable question."""
        return Sample("1", "When is the pump serviced?", ("in May",), {"manual": 1.0})

    def test_it_is_a_metric_with_figures(self, metric: Metric) -> None:
        """Protocol; every figure says what it means."""
        assert isinstance(metric, Metric)
        assert metric.figures()
        assert all(figure.about for figure in metric.figures().values())

    def test_any_state_gives_known_figures_and_finite_numbers(self, metric: Metric, sample: Sample) -> None:
        """Nothing is raised; shares lie in [0, 1]; what has no value has a reason."""
        for name, state in states().items():
            for asked in (sample, Sample("2", "Who?")):
                for figure, score in metric.score(asked, state).items():
                    assert figure in metric.figures(), name
                    if score.value is None:
                        assert score.reason, name
                        continue
                    assert math.isfinite(score.value), name
                    if metric.figures()[figure].unit == "share":
                        assert 0 <= score.value <= 1, name

    def test_it_says_something_about_an_answer(self, metric: Metric, sample: Sample) -> None:
        """A number, where there is everything to give one."""
        assert any(score.value is not None for score in metric.score(sample, states()["answered"]).values())

    def test_it_repeats_itself(self, metric: Metric, sample: Sample) -> None:
        """The same state has the same scores."""
        for state in states().values():
            assert metric.score(sample, state) == metric.score(sample, state)
