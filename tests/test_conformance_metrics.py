"""Our own metrics through the suite that we ship."""

from __future__ import annotations

import pytest

from llmkit import config, registry
from llmkit.testing.metric_suite import MetricSuite
from llmkit.types import Sample

FIELDS = {
    "label": {"labels": ["in May", "in June"]},
    "judge": {"model": "scripted:A"},
    "retrieval": {"measures": ["recall", "mrr", "ndcg", "map", "answer"], "k": [1, 10]},
}
COLUMNS = {
    "concepts": ["pump", "May"],
    "target": [{"service": {"month": ["May"]}}],
    "title": "Pumps Under May",
    "text": "The pump was bad.",
    "wanted": "positive",
    "canary": "tulips",
    "tests": ["assert True"],
    "checks": [{"name": "punctuation:no_comma", "arguments": {}}],
}


@pytest.mark.parametrize("word", sorted(registry.BUILTIN["metric"]))
class TestMetrics(MetricSuite):
    @pytest.fixture
    def metric(self, word):
        return config.build_part("metric", {"type": word, **FIELDS.get(word, {})})

    @pytest.fixture
    def sample(self, word):
        answers = ("7",) if word == "number" else ("in May",)
        return Sample("1", "When is the pump serviced?", answers, {"manual": 1.0}, fields=COLUMNS)
