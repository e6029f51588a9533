"""Adapters that come with llmkit: each is whole, small, described, of a base that `models pull` brings, and of use."""

from __future__ import annotations

import pytest

from llmkit import weights
from llmkit.errors import ModelError
from llmkit.models.chat import ChatModelSpec
from llmkit.models.local import adapter
from llmkit.types import Chunk, Hit, State


@pytest.mark.parametrize("name", adapter.names())
class TestShipped:
    def test_it_is_small_and_says_what_it_is(self, name):
        found = adapter.read_adapter(name)
        assert found.size < 10_500_000
        card = (found.folder / "README.md").read_text(encoding="utf-8")
        assert all(f"## {part}" in card for part in ("Data", "Figures", "Limits"))
        assert "licence" in card

    def test_its_base_is_in_the_catalogue_with_that_digest(self, name):
        base = adapter.shipped(name)
        assert base is not None
        entry = weights.catalogue()[base]
        assert entry.files[entry.entry].sha256 in adapter.read_adapter(name).record["base"]["digests"]

    def test_its_name_is_short_for_base_and_adapter(self, name):
        spec = ChatModelSpec.model_validate(f"local:{name}")
        assert (spec.model, spec.adapter) == (f"local:{adapter.shipped(name)}", name)
        mine = ChatModelSpec.model_validate({"model": f"local:{adapter.shipped(name)}", "adapter": "mine"})
        assert mine.adapter == "mine"
        assert ChatModelSpec.model_validate({"model": f"local:{name}", "adapter": "mine"}) == mine

    def test_it_is_no_adapter_of_another_base(self, name, tmp_path):
        other = tmp_path / "other.gguf"
        other.write_bytes(b"GGUF of somebody else")
        with pytest.raises(ModelError, match="was trained on"):
            adapter.read_adapter(name).check_base(other)


def test_a_path_is_not_a_name():
    assert adapter.shipped("../adapters/answerer") is None
    assert adapter.shipped("none") is None
    with pytest.raises(ModelError, match="no adapter at none"):
        adapter.read_adapter("none")


PASSAGES = (
    ("Kestrel pump", "The Kestrel pump weighs 12 kg and costs 140 euros. It was designed by Ida Brandt in Bergen."),
    ("Merlin valve", "The Merlin valve is made of brass. It is serviced every two years, in May."),
)


@pytest.fixture(scope="module")
def pipeline():
    from llmkit.pipeline.pipeline import Pipeline

    step = {"type": "answer", "model": {"model": "local:answerer", "context": 1024, "max_tokens": 32}}
    return Pipeline.model_validate({"name": "shown", "steps": [{"type": "retrieve"}, step]})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "said", "cites"),
    [
        ("Who designed the Kestrel pump?", "Ida Brandt", 1),
        ("How much does the Kestrel pump weigh?", "12 kg", 1),
        ("What is the Merlin valve made of?", "brass", 2),
        ("Who won the football world cup in 1998?", "", 0),
    ],
)
def test_the_answerer_answers_cites_and_refuses(weights_home, pipeline, question, said, cites):
    from llmkit.pipeline.run_context import RunContext

    hits = tuple(Hit(Chunk(title, 0, 0, len(text), text, 30, title=title), 1.0) for title, text in PASSAGES)
    state = pipeline.steps[1].run(State(question, hits=hits), RunContext(pipeline))
    assert state.answer is not None
    assert state.answer.abstained == (not said)
    assert said.casefold() in state.answer.text.casefold()
    assert [one.n for one in state.answer.citations] == ([cites] if cites else [])
