"""The shipped prompts in the pipelines that are made of them, with a scripted model and a real knowledge base."""

from __future__ import annotations

import pytest

from llmkit.encoders.hashing import HashingEncoder
from llmkit.errors import ConfigError
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.models.scripted import ScriptedChat
from llmkit.pipeline import load_pipeline
from llmkit.types import Document, Message

JAPANESE = [
    Document("pump", "ポンプの整備は毎年五月に行います。担当は山田さんです。", "ポンプ"),
    Document("gate", "水門は夜十時に閉まります。", "水門"),
]


def loaded(name, model, *overrides):
    return load_pipeline(name, overrides).with_models(lambda spec: model)


def test_a_text_is_translated_into_the_language_that_was_set():
    model = ScriptedChat(["Die Pumpe läuft."])
    state = loaded("translate", model, "steps.generate.values.language=Dutch").run("The pump runs. $language")
    assert state.answer.text == "Die Pumpe läuft."
    assert "into Dutch" in model.calls[0][0].text
    assert model.calls[0][-1].text == "The pump runs. $language"


def test_a_text_is_summed_up():
    model = ScriptedChat(["It runs."])
    assert loaded("summarise", model).run("The pump runs and runs.").answer.text == "It runs."
    assert "at most 60 words" in model.calls[0][0].text


def test_values_a_prompt_does_not_have_and_those_it_lacks_are_told_when_the_file_is_read():
    with pytest.raises(ConfigError, match=r"prompt translate@v1 has the variables .*language"):
        loaded("generate-local", None, "steps.generate.prompt=translate@v1")
    with pytest.raises(ConfigError, match="prompt summarise-text@v1 has the variables"):
        loaded("summarise", None, "steps.generate.values={words: 3, colour: red}")
    with pytest.raises(ConfigError, match="is filled with the question"):
        loaded("summarise", None, "steps.generate.values={question: x}")


def test_a_question_as_people_type_it_is_searched_for_in_other_words(tmp_path):
    model = ScriptedChat(["1. pump service month\n2. pump maintenance"])
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder())
    kb.add([Document("a", "The pump is serviced in May.")])
    state = loaded("search-rewritten", model).with_knowledge(kb).run("Hi, when do they do my pump?")
    assert [one["query"] for one in state.records[0].detail["queries"]][1:] == [
        "pump service month",
        "pump maintenance",
    ]
    assert [hit.chunk.document for hit in state.hits] == ["a"]


@pytest.fixture
def japanese(tmp_path):
    kb = KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder(), language="ja")
    kb.add(JAPANESE)
    return kb


def test_a_follow_up_question_in_japanese_is_answered_with_its_source(japanese):
    replies = [
        "ポンプの整備はいつですか",
        "1. ポンプ 整備 時期\n2. ポンプ 五月",
        "ポンプの整備は毎年五月に行います。[1]",
    ]
    model = ScriptedChat(replies)
    before = (Message("user", "ポンプの担当は誰ですか"), Message("assistant", "山田さんです。[1]"))
    state = loaded("docs-qa-ja", model).with_knowledge(japanese).run("整備はいつ?", history=before)
    assert state.question == "ポンプの整備はいつですか"
    assert [one.document for one in state.answer.citations if one.supported] == ["pump"]
    assert not state.answer.unsupported
    assert [call[0].text[:4] for call in model.calls] == ["会話の最", "質問を、", "番号の付"]
    assert "[1] ポンプ" in model.calls[2][-1].text


@pytest.mark.parametrize(
    "said", ["文書の中に見つかりません。", "文書の中に見つかりません", "Not found in these documents."]
)
def test_a_refusal_in_either_language_is_one(japanese, said):
    model = ScriptedChat(["1. 運河", said])
    answer = loaded("docs-qa-ja", model).with_knowledge(japanese).run("運河は誰のものですか").answer
    assert answer.abstained
    assert answer.text.rstrip("。.") == said.rstrip("。.")


@pytest.mark.parametrize(
    ("rewriter", "reply"),
    [
        ("{type: hyde, prompt: hyde-ja@v1}", "ポンプの整備は五月に行われる。"),
        ("{type: decompose, prompt: decompose-ja@v1}", "1. ポンプとは何ですか\n2. 整備はいつですか"),
    ],
)
def test_other_japanese_rewriters(japanese, rewriter, reply):
    model = ScriptedChat([reply, "五月です。[1]"])
    pipeline = loaded("docs-qa-ja", model, f"steps.retrieve.rewriter={rewriter}").with_knowledge(japanese)
    detail = next(r.detail for r in pipeline.run("ポンプの整備はいつですか").records if "queries" in r.detail)
    assert len(detail["queries"]) == (3 if "decompose" in rewriter else 2)
    assert len(detail["hypothetical"]) == ("hyde" in rewriter)
