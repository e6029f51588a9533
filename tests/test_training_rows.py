"""Rows of chat data: every key has an effect on the training, or its row is refused by line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_chat import TEMPLATE, make_tiny

from llmkit.errors import DataError
from llmkit.training.adapters.base_model import open_base
from llmkit.training.lora.chat_template import ChatTemplate
from llmkit.training.lora.datasets import ChatRows, GoodSamples, InstructionRows, PreferenceRows, QuestionRows
from llmkit.training.lora.preflight import consecutive_users, repetitions, text_runs
from llmkit.training.lora.recipe import LoraRecipe
from llmkit.training.lora.train import prepare, train

TOOL_TEMPLATE = (
    "{% if tools %}{{ '<|im_start|>system\nTools:' }}{% for tool in tools %}{{ ' ' + tool.function.name }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] }}{% if message.name %}{{ ' ' + message.name }}"
    "{% endif %}{{ '\n' + message['content'] }}{% for call in message.tool_calls or [] %}"
    "{{ 'CALL ' + call.function.name + (call.function.arguments | tojson) }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Writes tools, calls and names, as the templates of models that were trained on them do."""

PRICE = {"type": "function", "function": {"name": "look_up_price", "parameters": {"type": "object"}}}
CALL = {"id": "call-1", "type": "function", "function": {"name": "look_up_price", "arguments": '{"part": "seal"}'}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("rows") / "base")


def template_of(folder: Path, **more) -> ChatTemplate:
    base = open_base(str(folder), threads=1)
    return ChatTemplate(base.tokenizer, frozenset(base.ends), **more)


@pytest.fixture(scope="module")
def plain(folder) -> ChatTemplate:
    return template_of(folder)


@pytest.fixture(scope="module")
def with_tools(tmp_path_factory) -> ChatTemplate:
    return template_of(make_tiny(tmp_path_factory.mktemp("tools") / "base", template=TOOL_TEMPLATE))


def write(path: Path, *rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def read(tmp_path, row, kind=ChatRows, **settings):
    (one,) = kind(path=write(tmp_path / "rows.jsonl", row), **settings).conversations()
    return one


def learned(template, conversation) -> list[str]:
    return [text for text, is_learned in text_runs(template.tokenizer, template.example(conversation)) if is_learned]


class TestHonoured:
    def test_a_weight_of_0_is_read_and_not_learned(self, tmp_path, plain, folder):
        row = {"messages": [user("How old?"), assistant("Nine.", weight=0), user("Sure?"), assistant("Ten.", weight=1)]}
        for template in (plain, template_of(folder, learn="all")):
            example = template.example(read(tmp_path, row))
            assert learned(template, read(tmp_path, row)) == ["Ten.<|im_end|>"]
            assert "Nine." in template.tokenizer.decode(example.ids)

    def test_a_weight_of_1_is_learned_also_where_the_last_answer_alone_would_be(self, tmp_path, plain):
        row = {"messages": [user("One?"), assistant("First.", weight=1), user("Two?"), assistant("Second.")]}
        assert learned(plain, read(tmp_path, row)) == ["First.<|im_end|>", "Second.<|im_end|>"]

    def test_what_follows_the_last_learned_answer_is_dropped(self, tmp_path, plain):
        row = {"messages": [user("One?"), assistant("First.", weight=1), user("Two?"), assistant("Bad.", weight=0)]}
        example = plain.example(read(tmp_path, row))
        assert example.ids[-1] in plain.ends
        assert plain.tokenizer.decode(example.ids).endswith("First.<|im_end|>")

    def test_tools_calls_and_their_results_reach_the_template(self, tmp_path, with_tools):
        result = {"role": "tool", "tool_call_id": "call-1", "content": "4 euros"}
        row = {
            "messages": [user("Price?"), assistant(None, tool_calls=[CALL]), result, assistant("Four.")],
            "tools": [PRICE],
        }
        conversation = read(tmp_path, row)
        text = with_tools.tokenizer.decode(with_tools.example(conversation).ids)
        assert text.startswith("<|im_start|>system\nTools: look_up_price<|im_end|>")
        assert 'CALL look_up_price{"part": "seal"}' in text
        assert "4 euros" in text
        assert learned(with_tools, conversation) == ["Four.<|im_end|>"]

    def test_a_call_is_learned_where_it_is_the_answer(self, tmp_path, with_tools):
        row = {"messages": [user("Price?"), assistant(None, tool_calls=[CALL])], "tools": [PRICE]}
        assert learned(with_tools, read(tmp_path, row)) == ['CALL look_up_price{"part": "seal"}<|im_end|>']

    def test_rows_that_differ_in_their_tools_are_different_prompts(self, tmp_path):
        messages = [user("Price?"), assistant("Four.")]
        one, other = (read(tmp_path, {"messages": messages, **more}) for more in ({}, {"tools": [PRICE]}))
        assert one.prompt_digest != other.prompt_digest

    def test_a_name_reaches_a_template_that_writes_names(self, tmp_path, with_tools):
        row = {"messages": [{**user("Hi"), "name": "Ada"}, assistant("Ho")]}
        assert "<|im_start|>user Ada\n" in with_tools.tokenizer.decode(with_tools.example(read(tmp_path, row)).ids)

    def test_text_parts_are_joined_by_lines_as_the_server_joins_them(self, tmp_path):
        parts = [{"type": "text", "text": "Which"}, {"type": "text", "text": "seal?"}]
        row = {"messages": [{"role": "user", "content": parts}, assistant([{"type": "text", "text": "S4."}])]}
        assert [turn.content for turn in read(tmp_path, row).turns] == ["Which\nseal?", "S4."]

    def test_the_role_developer_is_system_and_null_is_absent(self, tmp_path):
        row = {
            "messages": [
                {"role": "developer", "content": "Be short.", "name": None},
                user("Hi"),
                assistant("Ho", tool_calls=None, refusal=None),
            ],
            "tools": None,
        }
        assert [turn.role for turn in read(tmp_path, row).turns] == ["system", "user", "assistant"]

    def test_a_column_system_comes_before_the_setting(self, tmp_path):
        rows = {"prompt": "Hi", "completion": "Ho", "system": "Be kind."}, {"prompt": "Hi", "completion": "Ho"}
        path = write(tmp_path / "i.jsonl", *rows)
        both = InstructionRows(path=path, system="Be short.").conversations()
        assert [one.turns[0].content for one in both] == ["Be kind.", "Be short."]

    def test_labels_and_named_columns_are_left_out(self, tmp_path):
        row = {"messages": [user("Hi"), assistant("Ho")], "id": 7, "kind": "x", "license": "CC0"}
        assert read(tmp_path, row, ignore=["license"]).turns[1].content == "Ho"

    def test_thoughts_are_learned_where_the_template_writes_them(self, tmp_path, plain):
        row = {"messages": [user("Hi"), assistant("<think>hm</think>Ho")]}
        assert learned(plain, read(tmp_path, row)) == ["<think>hm</think>Ho<|im_end|>"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [user("q"), assistant("a", weight=0)]}, "every answer has the weight 0"),
        ({"messages": [user("q"), assistant("a", weight=0.5)]}, r"messages\[1\].weight: expected 0 .* got 0.5"),
        ({"messages": [user("q"), assistant("a", weight=True)]}, r"messages\[1\].weight: expected 0"),
        ({"messages": [{**user("q"), "weight": 1}, assistant("a")]}, r"messages\[0\]: weight belongs to the assistant's messages"),
        ({"messages": [user("q"), assistant("a", wieght=0)]}, r"unknown key 'wieght'; did you mean 'weight'"),
        ({"messages": [user("q"), assistant("a", function_call={"name": "f"})]}, "write it as tool_calls"),
        ({"messages": [user("q"), assistant("a", reasoning="hm")]}, "name it reasoning_content"),
        ({"messages": [user("q"), assistant("a", audio={"id": "x"})]}, "only text is learned"),
        ({"messages": [user("q"), assistant("a")], "weight": 2}, "unknown column 'weight'.*belongs to a message"),
        ({"messages": [user("q"), assistant("a")], "functions": []}, "unknown column 'functions'.*write them as tools"),
        ({"messages": [user("q"), assistant("a")], "licence": "x"}, r"unknown column 'licence'.*ignore`: \[licence\]"),
        ({"messages": [user("q"), assistant("a")], "tools": [{"name": "f"}]}, r"tools\[0\]: expected"),
        ({"messages": [user("q"), assistant("a")], "tools": "f"}, "tools: expected a list, got str"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, assistant("a")]}, "not 'image_url'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}, assistant("a")]}, r"content\[0\]: expected"),
        ({"messages": [user("q"), assistant("", tool_calls=[{"function": {}}])]}, r"tool_calls\[0\]: expected"),
        (
            {"messages": [user("q"), assistant("", tool_calls=[{"function": {"name": "f", "arguments": "{"}}])]},
            "the arguments are not JSON",
        ),
        (
            {"messages": [user("q"), assistant("", tool_calls=[{"function": {"name": "f", "arguments": "3"}}])]},
            "must be a JSON object",
        ),
        ({"messages": [user("q"), {"role": "tool", "content": "4"}, assistant("a")]}, "before any tool_calls"),
        (
            {
                "messages": [
                    user("q"), assistant(None, tool_calls=[CALL]),
                    {"role": "tool", "tool_call_id": "call-2", "content": "4"}, assistant("a"),
                ]
            },
            "unknown tool_call_id 'call-2'; did you mean 'call-1'",
        ),
    ],
)  # fmt: skip
def test_a_key_without_an_effect_is_refused_by_line(tmp_path, row, says):
    good = {"messages": [user("Hi"), assistant("Ho")]}
    with pytest.raises(DataError, match=f"line 2: .*{says}"):
        list(ChatRows(path=write(tmp_path / "c.jsonl", good, row)).conversations())


@pytest.mark.parametrize(
    ("kind", "row", "says"),
    [
        (InstructionRows, {"prompt": "q", "completion": "a", "history": []}, "unknown column 'history'"),
        (InstructionRows, {"instruction": "q", "output": "a", "input": 3}, "input: expected a text, got int"),
        (QuestionRows, {"question": "q", "passages": ["p"], "answer": "a", "context": "c"}, "unknown column 'context'"),
        (
            QuestionRows,
            {"question": "q", "passages": [{"text": "p", "body": "b"}], "answer": "a"},
            r"passages\[0\]: unknown key 'body'",
        ),
        (PreferenceRows, {"prompt": "q", "chosen": "May  the 4th", "rejected": "May the 4th\n"}, "another answer"),
        (PreferenceRows, {"prompt": "q", "chosen": "a", "rejected": "b", "margin": 2}, "unknown column 'margin'"),
        (
            PreferenceRows,
            {"messages": [user("q"), assistant("x", weight=0), user("r")], "chosen": "a", "rejected": "b"},
            "a weight has no effect on a preference",
        ),
    ],
)
def test_columns_of_the_other_types_are_refused_too(tmp_path, kind, row, says):
    with pytest.raises(DataError, match=f"line 1: .*{says}"):
        read(tmp_path, row, kind)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"messages": [user("q"), assistant("a")], "tools": [PRICE]}, "does not write the row's tools"),
        (
            {"messages": [user("q"), assistant("x", tool_calls=[CALL]), user("r"), assistant("a")]},
            "not write tool_calls",
        ),
        ({"messages": [{**user("q"), "name": "Ada"}, assistant("a")]}, "does not write 'name' of turn 1"),
        ({"messages": [user("q"), assistant("a", reasoning_content="hm")]}, "'reasoning_content' of turn 2"),
    ],
)
def test_what_the_template_leaves_out_is_refused_by_line(tmp_path, plain, row, says):
    with pytest.raises(DataError, match=f"rows.jsonl, line 1: the chat template .*{says}"):
        plain.example(read(tmp_path, row))


def test_a_template_that_drops_part_of_an_answer_or_refuses_a_row_is_named(tmp_path):
    drops = TEMPLATE.replace("message['content']", "message['content'].split('</think>')[-1]")
    row = {"messages": [user("Hi"), assistant("<think>hm</think>Ho")]}
    template = template_of(make_tiny(tmp_path / "drops", template=drops))
    with pytest.raises(DataError, match=r"line 1: .*not write all of turn 2 \(assistant\)"):
        template.example(read(tmp_path, row))
    refuses = "{{ raise_exception('roles must alternate') }}" + TEMPLATE
    template = template_of(make_tiny(tmp_path / "refuses", template=refuses))
    with pytest.raises(
        DataError, match="line 1: the chat template cannot write this conversation: roles must alternate"
    ):
        template.example(read(tmp_path, row))


def test_an_earlier_answer_may_be_shortened_by_the_template_as_in_serving(tmp_path):
    shortens = TEMPLATE.replace(
        "message['content']", "(message['content'] if loop.last else message['content'].split('</think>')[-1])"
    )
    template = template_of(make_tiny(tmp_path / "m", template=shortens))
    row = {"messages": [user("Hi"), assistant("<think>hm</think>Ho"), user("And?"), assistant("So.")]}
    assert learned(template, read(tmp_path, row)) == ["So.<|im_end|>"]


def test_repeated_rows_and_two_turns_of_the_user_are_reported(tmp_path, plain):
    rows = [
        {"messages": [user("Same?"), assistant("Yes.")]},
        {"messages": [user("Same?"), assistant("Yes.")]},
        {"messages": [user("Same?"), assistant("No.")]},
        {"messages": [user("One."), user("Two?"), assistant("Three.")]},
    ]
    conversations = list(ChatRows(path=write(tmp_path / "r.jsonl", *rows)).conversations())
    notes = repetitions([plain.example(one) for one in conversations])
    assert notes[0] == "1 rows are the same as an earlier row and count twice: r.jsonl, line 2 = r.jsonl, line 1"
    assert notes[1].startswith("1 prompts have several different answers: r.jsonl, line 1")
    assert consecutive_users(conversations) == ["1 rows have two turns of the user in a row: r.jsonl, line 4"]


def recipe(folder: Path, out: Path, rows: str, **more) -> LoraRecipe:
    settings = {
        "base": str(folder), "out": str(out), "precision": "fp32", "threads": 1, "rank": 2, "batch": 4,
        "data": [{"type": "chat", "path": rows}], "dev_share": 0.0,
    }  # fmt: skip
    return LoraRecipe.model_validate({**settings, **more})


def test_long_rows_are_named_before_the_training(tmp_path, folder):
    rows = [{"messages": [user("Hi " * (300 if n == 2 else n)), assistant("Ho")]} for n in range(1, 6)]
    prepared = prepare(recipe(folder, tmp_path / "a", write(tmp_path / "r.jsonl", *rows), max_tokens=64))
    assert prepared.preflight.too_long == 1
    assert "longer than max_tokens: r.jsonl, line 2" in prepared.preflight.notes


def test_early_stopping_ends_a_training_that_gets_no_better(tmp_path, folder):
    rows = [{"messages": [user(f"Say {n}"), assistant(f"{n * 37 % 91} it is")]} for n in range(30)]
    path = write(tmp_path / "r.jsonl", *rows)
    done = train(
        prepare(
            recipe(
                folder, tmp_path / "a", path, dev_share=0.4, lr=0.2, steps=60, evaluate_every=2, patience=2, warmup=0
            )
        )
    )
    assert done.state.step < 60
    assert done.state.evaluations_since_best == 2


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)])
def test_a_signal_ends_a_training_with_a_checkpoint_of_its_last_step(tmp_path, folder, number, code):
    rows = [{"messages": [user(f"Say {n}"), assistant(f"It is {n}.")]} for n in range(30)]
    settings = recipe(
        folder, tmp_path / "a", write(tmp_path / "r.jsonl", *rows), steps=4000, evaluate_every=3999, dropout=0.1
    )
    (tmp_path / "r.yaml").write_text(json.dumps(settings.config()))
    script = Path(__file__).parent / "lora_killed.py"
    child = subprocess.Popen(
        [sys.executable, script, tmp_path / "r.yaml"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    steps = []
    for line in child.stdout:
        steps.append(int(line))
        if steps[-1] == 5:
            child.send_signal(number)
    assert child.wait() == code
    from safetensors import safe_open

    with safe_open(tmp_path / "a.training" / "checkpoint.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["state"])["step"] == steps[-1]
    assert not (tmp_path / "a").exists()


def test_what_pairs_and_mined_examples_do_not_use_is_counted(tmp_path):
    from llmkit.training.data import load
    from llmkit.training.data.formats import Pairs
    from llmkit.training.data.mined_format import Mined

    rows = [{"question": f"Which seal {n}?", "passage": f"Seal {n}.", "hard": f"Seal {n}.", "id": n} for n in range(3)]
    path = write(tmp_path / "p.jsonl", *rows)
    (note,) = load.read(Pairs(path=path).examples()).notes()
    assert note.startswith("3 rows: the column 'hard' is not read; query, positive")
    (note,) = load.read(Pairs(path=path, negatives=("hard",)).examples()).notes()
    assert note == "3 rows: a negative is the same text as a positive and is left out"
    mined = write(tmp_path / "m.jsonl", {"query": "Which?", "positives": [{"text": "Seal."}], "weight": 2})
    assert load.read(Mined(path=mined).examples()).notes()[0].startswith("1 rows: the key 'weight' is not read")


def test_fresh_discards_an_unfinished_training_of_a_retriever(tmp_path):
    import tiny
    from click.testing import CliRunner

    from llmkit.cli import cli
    from llmkit.training import load_retriever_recipe, train_retriever

    rows = tiny.write_pairs(tmp_path / "train.jsonl", tiny.rows(40))
    settings = {
        "data": {"type": "pairs", "path": str(rows)}, "base": str(tiny.bert(tmp_path / "base")), "max_tokens": 32,
        "batch": 16, "epochs": 2, "threads": 1, "out": str(tmp_path / "out"), "checkpoint_every": 1,
    }  # fmt: skip
    file = tmp_path / "r.yaml"
    file.write_text(json.dumps({"recipe": "retriever", **settings}))

    class Stopped(BaseException):
        pass

    def stop(report):
        raise Stopped

    with pytest.raises(Stopped):
        train_retriever(load_retriever_recipe(str(file)), on_step=stop)
    command = ["train", "retriever", str(file), "--set", "epochs=1"]
    refused = CliRunner().invoke(cli, command)
    assert "epochs was 2 and is 1. Repeat" in str(refused.exception)
    done = CliRunner().invoke(cli, [*command, "--fresh"])
    assert done.exit_code == 0, done.output
    assert "loss.svg" in done.output
    assert not (tmp_path / "out.training").exists()


def test_the_old_name_of_a_lowest_score_works_and_says_so():
    with pytest.warns(DeprecationWarning, match="now called min_score"):
        assert GoodSamples(path="runs/x", figure="f1", least=0.5).min_score == 0.5
