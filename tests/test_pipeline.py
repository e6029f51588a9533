"""Pipelines end to end, with a real knowledge base, the hashing encoder and a scripted model."""

from __future__ import annotations

import asyncio
import json

import pytest

from llmkit import assets, config, registry
from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import Cancelled, ConfigError, DataError, StepError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import Pipeline, load_pipeline
from llmkit.pipeline.steps.answering.ground import Ground
from llmkit.types import Document

TEXTS = {
    "warranty": "The warranty covers parts for 24 months. It does not cover damage caused by water.",
    "shipping": "Parcels leave the warehouse in Bern within two days. Shipping abroad takes a week.",
    "garden": "Tomatoes want full sun and a cup of water each morning.",
}


@pytest.fixture
def kb(tmp_path):
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add([Document(name, text, title=name.title()) for name, text in TEXTS.items()])
        yield kb


def answering(kb, *outputs, steps=None, **fields):
    """A pipeline whose model says `outputs` in turn."""
    pipeline = Pipeline(
        name="t", model="scripted:unused", steps=steps or ["retrieve", "answer", "ground"], **fields
    ).with_knowledge(kb)
    model = ScriptedChat(list(outputs))
    pipeline._models[pipeline.model.digest] = model
    return pipeline, model


def test_a_cited_answer_is_checked_and_keeps_its_place(kb):
    pipeline, _ = answering(kb, "Damage caused by water is not covered [1].")
    state = pipeline.run("What does the warranty exclude?")
    assert state.hits[0].chunk.document == "warranty"
    (citation,) = state.answer.citations
    assert citation.supported
    assert citation.quote == "It does not cover damage caused by water."
    document = kb.document(citation.document)
    assert document.text[citation.start : citation.end] == citation.quote
    assert citation.version == document.version
    assert [record.step for record in state.records] == ["steps[0] retrieve", "steps[1] answer", "steps[2] ground"]
    assert state.records[1].detail["prompt"] == "answer@v1"


def test_a_question_the_encoder_cannot_read_is_told(tmp_path):
    class English(HashingEncoder):
        def unknown_share(self, text):
            return 0.0 if text.isascii() else 0.6

    with KnowledgeBase.create(tmp_path / "kb", encoder=English()) as kb:
        kb.add([Document("a", "手塚治虫は漫画家である。")])

        def notes(question, retriever):
            pipeline = Pipeline(name="x", steps=[{"type": "retrieve", "retriever": retriever}]).with_knowledge(kb)
            return pipeline.run(question).records[0].detail.get("notes", [])

        assert notes("漫画家は誰?", "hybrid")[0].startswith("60% of the question's tokens are unknown to the encoder")
        assert notes("漫画家は誰?", "bm25") == []
        assert notes("Who?", "hybrid") == []


def test_an_invented_citation_is_said_to_be_one(kb):
    pipeline, _ = answering(kb, "Water damage is covered for 36 months [1]. See also [9].")
    answer = pipeline.run("What does the warranty exclude?").answer
    assert not any(citation.supported for citation in answer.citations)
    assert {c.n: c.reason for c in answer.citations}[9] == "there is no passage 9: 3 were shown"
    assert len(answer.unsupported) == 2


def test_a_sentence_without_citation_gets_the_passage_that_supports_it(kb):
    pipeline, _ = answering(kb, "It does not cover damage caused by water.")
    answer = pipeline.run("What does the warranty exclude?").answer
    assert answer.text == "It does not cover damage caused by water. [1]"
    assert answer.citations[0].supported


def test_a_mark_behind_the_full_stop_belongs_to_its_sentence(kb):
    pipeline, _ = answering(kb, "It does not cover damage caused by water. [1] Mars is red. [1]")
    answer = pipeline.run("What does the warranty exclude?").answer
    assert answer.unsupported == ("Mars is red. [1]",)
    assert answer.text == "It does not cover damage caused by water. [1] Mars is red. [1]"


@pytest.mark.parametrize(
    ("policy", "text", "abstained"),
    [
        ("mark", "It does not cover damage caused by water [1]. The moon is made of cheese [1].", False),
        ("drop", "It does not cover damage caused by water [1].", False),
        ("abstain", "Not found in these documents.", True),
    ],
)
def test_what_is_done_with_the_unsupported(kb, policy, text, abstained):
    said = "It does not cover damage caused by water [1]. The moon is made of cheese [1]."
    pipeline, _ = answering(kb, said, steps=["retrieve", "answer", Ground(on_unsupported=policy)])
    answer = pipeline.run("What does the warranty exclude?").answer
    assert (answer.text, answer.abstained) == (text, abstained)
    assert answer.unsupported == ("The moon is made of cheese [1].",)


def test_the_model_may_say_that_it_is_not_there(kb):
    pipeline, _ = answering(kb, "Not found in these documents")
    state = pipeline.run("Who won the cup in 1998?")
    assert state.answer.abstained
    assert state.answer.citations == ()
    assert state.hits, "the nearest passages are still shown"


def test_a_model_that_says_nothing_is_not_a_finding_about_the_documents(kb):
    pipeline, _ = answering(kb, "")
    with pytest.raises(StepError, match="answered with no text, which says nothing about the question"):
        pipeline.run("What does the warranty exclude?")


def test_passages_are_numbered_data_in_the_prompt(kb):
    pipeline, model = answering(kb, "x")
    pipeline.run("What does the warranty exclude?")
    (messages,) = model.calls
    assert "[1] Warranty\nThe warranty covers parts" in messages[-1].content


def test_extract_quotes_a_line_of_what_has_no_full_stop(kb):
    form = "\n".join(f"Field {n} of the form holds whatever was typed there by hand" for n in range(12))
    kb.add([Document("form", f"{form}\nPassport number X-4471 of the traveller", title="Form")])
    pipeline = Pipeline(name="x", steps=["retrieve", {"type": "extract", "threshold": 0}]).with_knowledge(kb)
    answer = pipeline.run("Passport number of the traveller?").answer
    assert answer.text == "Passport number X-4471 of the traveller [1]"


def test_a_heading_is_quoted_only_where_there_is_nothing_else(kb):
    pipeline = Pipeline(
        name="x", steps=[{"type": "retrieve", "k": 1}, {"type": "extract", "threshold": 0}]
    ).with_knowledge(kb)
    kb.add([Document("gate", "## When does the sluice gate open?\n\nIt is opened at dawn.", title="Sluice gate")])
    assert pipeline.run("When does the sluice gate open?").answer.text == "It is opened at dawn. [1]"
    kb.add([Document("gate", "## When does the sluice gate open?", title="Sluice gate")])
    assert pipeline.run("When does the sluice gate open?").answer.text == "## When does the sluice gate open? [1]"


def test_extract_quotes_and_abstains(kb):
    steps = [{"type": "retrieve", "k": 3}, {"type": "extract", "threshold": 0.4}]
    pipeline = Pipeline(name="x", steps=steps).with_knowledge(kb)
    state = pipeline.run("Which damage does the warranty not cover?")
    assert state.answer.text == "It does not cover damage caused by water. [1]"
    assert state.answer.citations[0].supported
    nothing = pipeline.run("zebra quantum mortgage")
    assert nothing.answer.abstained
    assert nothing.hits


def test_an_empty_knowledge_base_is_not_asked(tmp_path):
    with KnowledgeBase.create(tmp_path / "empty", encoder=HashingEncoder()) as kb:
        pipeline, model = answering(kb, "never")
        assert pipeline.run("Anything?").answer.abstained
        assert model.calls == []


def test_stream_yields_tokens_and_ends_with_the_state(kb):
    pipeline, _ = answering(kb, "It does not cover damage caused by water [1].")
    events = list(pipeline.stream("What does the warranty exclude?"))
    assert next(event.text for event in events if event.kind == "step") == "steps[0] retrieve"
    assert "".join(event.text for event in events if event.kind == "token").startswith("It does not cover")
    assert events[-1].kind == "done"
    assert events[-1].data["state"].answer.citations[0].supported


def test_a_closed_stream_stops_the_run(kb):
    pipeline, _ = answering(kb, "word " * 5000)
    stream = pipeline.stream("What does the warranty exclude?")
    for event in stream:
        if event.kind == "token":
            break
    stream.close()


def test_a_listener_can_cancel(kb):
    pipeline, _ = answering(kb, "one two three")

    def stop(event):
        if event.kind == "token":
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        pipeline.run("What does the warranty exclude?", on_event=stop)


def test_arun_and_batch_agree_with_run(kb):
    questions = ["What does the warranty exclude?", "How long does shipping abroad take?"]
    pipeline = Pipeline(name="x", steps=["retrieve", {"type": "extract", "threshold": 0}]).with_knowledge(kb)
    one_by_one = [pipeline.run(question).answer for question in questions]
    assert [state.answer for state in pipeline.batch(questions)] == one_by_one
    assert asyncio.run(pipeline.arun(questions[1])).answer == one_by_one[1]


def test_a_failing_step_names_itself_and_keeps_the_cause(kb):
    pipeline, _ = answering(kb, RuntimeError("the server burns"))
    with pytest.raises(StepError, match=r"steps\[1\] answer: .*the server burns") as caught:
        pipeline.run("What does the warranty exclude?")
    assert caught.value.__cause__ is not None


def test_an_empty_question_is_refused(kb):
    pipeline, _ = answering(kb, "x")
    with pytest.raises(DataError, match="empty"):
        pipeline.run("  \n")


def test_steps_out_of_order_are_refused_with_the_way_out():
    with pytest.raises(ConfigError, match=r"steps\[0\] extract needs 'hits'; no earlier step gives it; move retrieve"):
        config.parse("name: x\nsteps: [extract, retrieve]").build(Pipeline)


def test_mistakes_in_a_pipeline_file_are_all_found():
    text = (
        "name: x\nmodle: local:smollm2\nsteps:\n  - {type: retrieve, k: 0, retriever: {type: hibrid}}\n"
        "  - {type: answer, prompt: anwser@v1}\n"
    )
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "mine.yaml").build(Pipeline)
    found = {problem.path: problem.message for problem in caught.value.problems}
    assert "did you mean 'model'" in found["modle"]
    assert "did you mean 'hybrid'" in found["steps[0].retriever.type"]
    assert "k" in str(found["steps[0].k"]) or "greater than" in found["steps[0].k"]
    assert "did you mean 'answer'" in found["steps[1].prompt"]


RECIPES = [name for name in assets.known("pipelines") if "recipe" in config.read(assets.find("pipelines", name)).values]


@pytest.mark.parametrize("name", [name for name in assets.known("pipelines") if name not in RECIPES])
def test_every_shipped_pipeline_loads_and_round_trips(name, monkeypatch):
    monkeypatch.delenv("LLMKIT_KB", raising=False)
    pipeline = load_pipeline(name)
    assert pipeline.name == name
    assert pipeline.description
    assert Pipeline.model_validate(json.loads(json.dumps(pipeline.config()))) == pipeline


def test_overrides_reach_into_steps():
    pipeline = load_pipeline("docs-qa", ["steps.retrieve.k=20", "steps.extract.sentences=2"], knowledge="elsewhere")
    assert pipeline.steps[0].k == 20
    assert pipeline.steps[1].sentences == 2
    assert pipeline.knowledge == "elsewhere"


def test_what_the_user_should_know_of_a_knowledge_base_is_noted_once(kb):
    kb.store.catalog.set_meta({"identity": kb.identity.replace("/f32", "/bf16")})
    with KnowledgeBase.open(kb.path) as base:
        pipeline = Pipeline(name="x", steps=["retrieve", {"type": "extract", "threshold": 0}]).with_knowledge(base)
        first, second = pipeline.batch(["What does the warranty exclude?", "Is Bern there?"])
    (note,) = first.records[0].detail["notes"]
    assert "/bf16" in note
    assert "/f32" in note
    assert "notes" not in second.records[0].detail


def test_a_missing_knowledge_base_says_how_to_make_one(tmp_path):
    pipeline = load_pipeline("docs-qa", knowledge=tmp_path / "none")
    with pytest.raises(StepError, match="llmkit ingest"):
        pipeline.run("Anything?")


def test_the_schema_knows_every_step():
    schema = json.dumps(registry.json_schema(Pipeline))
    for word in ("retrieve", "extract", "answer", "ground", "hybrid"):
        assert f'"const": "{word}"' in schema
