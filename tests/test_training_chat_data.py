"""What a chat model learns from: rows, masks, packs, and the preflight that looks at them."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_chat import TEMPLATE, make_gguf, make_tiny

from llmkit.errors import ConfigError, DataError, ModelError
from llmkit.pipeline.steps.answering.prompt_passages import NOT_FOUND
from llmkit.training.adapters.base_model import Base, open_base
from llmkit.training.lora.batching import group_by_prefix, shuffle_groups
from llmkit.training.lora.chat_template import ChatTemplate, Example, limit_length
from llmkit.training.lora.conversations import ChatTurn, Conversation
from llmkit.training.lora.datasets import ChatRows, GoodSamples, InstructionRows, QuestionRows, number_passages
from llmkit.training.lora.packing import (
    MIN_SHARED,
    group_into_packs,
    hidden_states,
    make_pack,
    pack_examples,
    packed_attention,
)
from llmkit.training.lora.preflight import (
    check_begin_token,
    compare_with_serving,
    inspect,
    refuse_overlap,
    separate_padding,
    text_runs,
)
from llmkit.training.lora.recipe import LoraRecipe, load_recipe
from llmkit.training.lora.train import hold_out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return make_tiny(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def base(tiny) -> Base:
    import torch

    return open_base(str(tiny), dtype=torch.float32, threads=1)


@pytest.fixture(scope="module")
def template(base) -> ChatTemplate:
    return ChatTemplate(base.tokenizer, frozenset(base.ends))


def talk(*texts: str, place: str = "x.jsonl, line 1") -> Conversation:
    """user, assistant, user, … in turn."""
    return Conversation(tuple(ChatTurn(("user", "assistant")[n % 2], text) for n, text in enumerate(texts)), place)


def write(path, *rows) -> str:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return str(path)


class TestRows:
    def test_chat_instructions_and_questions_become_conversations(self, tmp_path):
        chat = write(
            tmp_path / "c.jsonl",
            {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]},
        )
        (one,) = ChatRows(path=chat).conversations()
        assert [(turn.role, turn.content) for turn in one.turns] == [("user", "Hi"), ("assistant", "Ho")]
        assert one.place == "c.jsonl, line 1"
        rows = {"instruction": "Add", "input": "1 2", "output": "3"}, {"prompt": "Say", "completion": "so"}
        both = list(InstructionRows(path=write(tmp_path / "i.jsonl", *rows), system="Be short.").conversations())
        assert [turn.content for turn in both[0].turns] == ["Be short.", "Add\n\n1 2", "3"]
        assert [turn.content for turn in both[1].turns] == ["Be short.", "Say", "so"]

    def test_questions_are_shown_as_the_answer_step_shows_them(self, tmp_path):
        """The messages of a real run of the pipeline, for the same passages."""
        from llmkit.encoders.hashing import HashingEncoder
        from llmkit.knowledge.knowledge_base import KnowledgeBase
        from llmkit.pipeline import Pipeline
        from llmkit.types import Document

        with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
            kb.add(
                [
                    Document("a", "The pump rests in May.", title="Pumps"),
                    Document("b", "A valve has two seats.", title="Valves"),
                ]
            )
            made = Pipeline(name="x", model="scripted:In May [1].", steps=["retrieve", "answer"]).with_knowledge(kb)
            state = made.run("When does the pump rest?")
        record = state.records[1].detail
        passages = [{"title": hit.chunk.title, "text": hit.chunk.text} for hit in state.hits]
        row = {"question": "When does the pump rest?", "passages": passages, "answer": "In May [1]."}
        nothing = {**row, "answer": None}
        one, none = QuestionRows(path=write(tmp_path / "q.jsonl", row, nothing)).conversations()
        assert [[turn.role, turn.content] for turn in one.turns[:-1]] == record["messages"]
        assert none.turns[-1].content == NOT_FOUND
        assert number_passages(["a text alone"]) == "[1] \na text alone"

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ("{", "line 2: not JSON"),
            ("[]", "line 2: expected an object"),
            ({"messages": []}, "line 2: messages: expected a list"),
            ({"messages": [{"role": "usr", "content": "x"}]}, "line 2: .*unknown role 'usr'; did you mean 'user'"),
            ({"messages": [{"role": "user", "content": "x"}]}, "line 2: the last turn must be the assistant's"),
            (
                {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "  "}]},
                "line 2: the answer is empty",
            ),
            ({"messages": [{"role": "assistant", "content": "x"}]}, "line 2: no turn of the user's"),
            ({"messages": [{"role": "user", "content": 3}]}, r"line 2: messages\[0\]: expected an object"),
        ],
    )
    def test_a_broken_row_stops_with_its_line(self, tmp_path, row, says):
        fine = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}
        with pytest.raises(DataError, match=says):
            list(ChatRows(path=write(tmp_path / "c.jsonl", fine, row)).conversations())

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ({"question": "q", "answer": "a"}, "passages: expected a list"),
            ({"question": "q", "passages": [3], "answer": "a"}, r"passages\[0\]"),
            ({"question": "q", "passages": ["p"], "answer": ""}, "the answer is empty"),
            ({"question": "q", "passages": ["p"]}, "unknown column 'answer'"),
            ({"question": "q", "passages": ["p"], "answer": ["a"]}, "expected a text, got list"),
        ],
    )
    def test_a_broken_question_names_what_is_wrong(self, tmp_path, row, says):
        with pytest.raises(DataError, match=says):
            list(QuestionRows(path=write(tmp_path / "q.jsonl", row)).conversations())

    @pytest.mark.parametrize(
        ("row", "says"),
        [
            ({"prompt": "Hi", "completion": "Ho"}, "completion and prompt: data of the type instructions"),
            ({"prompt": "Hi", "chosen": "a", "rejected": "b"}, "data of the type preferences"),
            ({"question": "Hi", "passages": ["p"], "answer": "a"}, "data of the type questions"),
            ({"conversations": [{"from": "human", "value": "Hi"}]}, 'write each turn as {"role"'),
        ],
    )
    def test_rows_of_another_type_are_recognised(self, tmp_path, row, says):
        with pytest.raises(DataError, match=says):
            list(ChatRows(path=write(tmp_path / "c.jsonl", row)).conversations())
        with pytest.raises(DataError) as caught:
            list(ChatRows(path=write(tmp_path / "d.jsonl", {"messages": []}, row)).conversations())
        assert "data of the type" not in str(caught.value)

    def test_a_file_that_is_not_there_or_empty_is_said(self, tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            list(ChatRows(path=str(tmp_path / "none.jsonl")).conversations())
        with pytest.raises(DataError, match="has no rows"):
            list(ChatRows(path=write(tmp_path / "e.jsonl")).conversations())

    def test_good_samples_of_a_run_are_what_its_model_was_asked_and_said(self, tmp_path):
        from llmkit.evaluation.runs.plan import plan
        from llmkit.evaluation.runs.run import evaluate
        from llmkit.evaluation.tasks.task import Task
        from llmkit.pipeline import Pipeline

        rows = [{"id": str(n), "question": f"Say {n}", "answers": ["yes" if n % 2 else "no"]} for n in range(4)]
        task = Task(
            name="t",
            dataset={"type": "rows", "path": write(tmp_path / "t.jsonl", *rows)},
            metrics=["answer"],
            knowledge="none",
        )
        pipeline = Pipeline(name="p", model="scripted:yes", steps=["generate"])
        folder = evaluate(plan(pipeline, task, tmp_path / "runs"))
        known = next(iter(folder.scores()))["scores"]
        figure = next(name for name in known if name.endswith("em"))
        good = list(GoodSamples(path=str(folder.path), figure=figure).conversations())
        assert sorted(one.turns[-2].content for one in good) == ["Say 1", "Say 3"]
        assert {one.turns[-1].content for one in good} == {"yes"}
        with pytest.raises(DataError, match="unknown figure 'nonesuch'"):
            list(GoodSamples(path=str(folder.path), figure="nonesuch").conversations())


class TestMask:
    def test_the_answer_and_its_end_are_learned_and_nothing_else(self, template):
        example = template.example(talk("When?", "In May [1]."))
        assert text_runs(template.tokenizer, example) == [
            ("<|im_start|>user\nWhen?<|im_end|>\n<|im_start|>assistant\n", False),
            ("In May [1].<|im_end|>", True),
        ]
        assert example.ids[-1] in template.ends

    def test_the_prompt_has_the_very_tokens_of_serving(self, template):
        turns = talk("When does it rest?", "In May.").turns
        example = template.example(Conversation(turns, "x"))
        prompt = template.tokens(template.render(turns[:-1], answering=True))
        assert list(example.ids[: len(prompt)]) == prompt
        assert not any(example.learned[: len(prompt)])
        assert all(example.learned[len(prompt) :])

    def test_the_last_answer_or_all_are_learned(self, template):
        long = talk("One?", "First.", "Two?", "Second.")
        last = text_runs(template.tokenizer, template.example(long))
        every = text_runs(template.tokenizer, replace(template, learn="all").example(long))
        assert [text for text, learned in last if learned] == ["Second.<|im_end|>"]
        assert [text for text, learned in every if learned] == ["First.<|im_end|>", "Second.<|im_end|>"]

    def test_control_tokens_in_data_are_refused(self, template):
        with pytest.raises(DataError, match=r"line 7: the user's text holds '<\|im_end\|>'"):
            template.example(talk("x<|im_end|>\nsystem", "y", place="x.jsonl, line 7"))

    def test_a_template_that_ends_no_answer_is_refused(self, tmp_path):
        folder = make_tiny(tmp_path / "m", template=TEMPLATE.replace("<|im_end|>", ""))
        made = open_base(str(folder), threads=1)
        with pytest.raises(DataError, match="does not end the answer"):
            ChatTemplate(made.tokenizer, frozenset(made.ends)).example(talk("Hi", "Ho"))

    def test_a_model_without_a_chat_template_is_refused(self, tmp_path):
        with pytest.raises(ModelError, match="no chat template"):
            open_base(str(make_tiny(tmp_path / "m", template=None)), threads=1)


class TestPreflight:
    def test_it_counts_what_is_learned(self, base, template):
        found = inspect(base, template, [template.example(talk(f"{n}?", "May.")) for n in range(5)], [], ["a", "b"])
        assert (found.train, found.too_long, len(found.masks)) == (5, 2, 3)
        assert 0 < found.learned < found.tokens

    def test_no_learned_token_is_an_error(self, base, template):
        example = template.example(talk("A question of some length?", "May."))
        cut, over = limit_length([example], 10, "cut")
        assert over == ["x.jsonl, line 1"]
        with pytest.raises(DataError, match=r"1 examples have no token that is learned: x.jsonl, line 1"):
            inspect(base, template, cut, [], over)
        with pytest.raises(DataError, match="no example is left"):
            inspect(base, template, limit_length([example], 10, "skip")[0], [], over)

    def test_an_answer_without_its_end_is_an_error_unless_it_was_cut_knowingly(self, base, template):
        example = template.example(talk("Hi", "A long answer of many words"))
        endless = replace(example, ids=example.ids[:-1], learned=example.learned[:-1])
        with pytest.raises(DataError, match="do not end with the token that ends an answer"):
            inspect(base, template, [endless], [])
        assert inspect(base, template, [replace(endless, cut=1)], [], ["x"]).too_long == 1

    def test_pad_is_made_another_token_than_the_end(self, base):
        base.tokenizer.pad_token = "<|im_end|>"
        separate_padding(base)
        assert base.tokenizer.pad_token_id not in base.ends

    def test_a_text_check_begin_token(self, template):
        example = template.example(talk("Hi", "Ho"))
        check_begin_token(template, [example])
        twice = Example((example.ids[0], *example.ids), (False, *example.learned), "line 3")
        with pytest.raises(DataError, match="line 3: the text begins with 2 tokens"):
            check_begin_token(template, [twice])

    def test_dev_rows_that_are_trained_on_are_refused_by_name(self, template):
        one, other = (
            talk("Same  Question?", "a", place="t.jsonl, line 4"),
            talk("same question?", "b", place="d.jsonl, line 9"),
        )
        with pytest.raises(DataError, match=r"1 rows .*d.jsonl, line 9 = t.jsonl, line 4"):
            refuse_overlap([template.example(one)], [template.example(other)])
        refuse_overlap([template.example(one)], [template.example(talk("Another?", "b"))])

    def test_what_is_held_out_shares_no_prompt(self):
        rows = [talk(f"{n % 50}?", str(n)) for n in range(500)]
        train, dev = hold_out(rows, 0.2)
        assert len(train) + len(dev) == 500
        assert dev
        assert not {row.prompt_digest for row in train} & {row.prompt_digest for row in dev}

    def test_the_template_of_serving_is_compared_by_llama_cpp_itself(self, tiny, tmp_path, template):
        same = open_base(str(make_gguf(tiny, tmp_path / "same.gguf")), threads=1)
        assert (
            compare_with_serving(
                same, ChatTemplate(same.tokenizer, frozenset(same.ends)), [talk("When is it — Ümlaut?", "Now.")]
            )
            == 1
        )
        other = make_gguf(tiny, tmp_path / "other.gguf", template=TEMPLATE.replace("assistant", "robot"))
        with pytest.raises(ModelError, match="the chat templates differ"):
            compare_with_serving(replace(same, gguf=other), template, [talk("When?", "Now.")])


ROWS = st.lists(
    st.tuples(st.integers(0, 40), st.lists(st.integers(0, 1), min_size=1, max_size=40)).map(lambda r: (7,) * r[0] + tuple(r[1])),
    min_size=1, max_size=12,
)  # fmt: skip
"""Tokens of examples, many of which begin alike."""


def told(ids) -> Example:
    """An example whose every token is learned."""
    return Example(tuple(ids), (True,) * len(ids), "line 1")


class TestPacking:
    @given(ROWS, st.integers(1, 200))
    def test_every_example_is_packed_once_and_within_the_budget(self, rows, budget):
        groups = group_into_packs(rows, budget)
        assert sorted(n for group in groups for n in group) == list(range(len(rows)))
        for group in groups:
            unshared = MIN_SHARED * (len(group) - 1)  # where a third one branches off, a few tokens stand twice
            assert make_pack([told(rows[n]) for n in group]).ids.shape[1] <= budget + unshared or len(group) == 1

    @given(ROWS)
    def test_a_branch_of_the_tree_is_the_example(self, rows):
        one = make_pack([told(row) for row in rows])
        starts = [0]
        for segment in one.segments:
            starts.append(starts[-1] + segment.length)
        ids, positions = one.ids[0].tolist(), one.positions[0].tolist()
        assert len(ids) == starts[-1] <= sum(map(len, rows))
        seen = {0: 0}
        for target, source, owner in zip(one.targets.tolist(), one.sources.tolist(), one.owners.tolist(), strict=True):
            row = rows[owner]
            seen[owner] = seen.get(owner, 0) + 1
            assert target == row[seen[owner]]
            leaf = max(n for n in range(len(one.segments)) if starts[n] <= source)
            path = [at for n in one.segments[leaf].above for at in range(starts[n], starts[n + 1])]
            path += range(starts[leaf], source + 1)
            assert [ids[at] for at in path] == list(row[: seen[owner]])
            assert [positions[at] for at in path] == list(range(len(path)))
        assert all(seen.get(n, 0) == len(row) - 1 for n, row in enumerate(rows))

    def test_what_two_examples_share_is_computed_once(self, template):
        long = "The pump rests in May. " * 20
        pair = [template.example(talk(long + asked, "May.")) for asked in ("When?", "Who rests?")]
        one = make_pack(pair)
        assert one.ids.shape[1] < 0.6 * sum(one.lengths)
        assert [segment.above for segment in one.segments] == [(), (0,), (0,)]

    def test_examples_about_the_same_passages_stand_together_and_are_mixed(self):
        rows = [(*range(first, first + 40), last) for first in range(0, 4000, 40) for last in (1, 2, 3)]
        groups = group_by_prefix(rows)
        assert sorted(map(sorted, groups)) == [[n, n + 1, n + 2] for n in range(0, 300, 3)]
        one, other = (shuffle_groups(groups, 4, random.Random(seed)) for seed in (0, 1))
        assert sorted(one) == sorted(other) == list(range(300))
        assert one != other
        assert all(abs(one[n] // 3 - one[n + 1] // 3) == 0 for n in range(0, 300, 3))
        assert shuffle_groups([list(range(300))], 4, random.Random(0)) != list(range(300))

    def test_packed_logits_equal_unpacked_ones(self, base, template):
        import torch

        torch.set_num_threads(1)
        examples = [template.example(talk("When? " * n, "May. " * (1 + n % 3))) for n in (1, 9, 4, 20, 2)]
        examples += [template.example(talk("When? " * 20 + asked, "In June.")) for asked in ("Who?", "Who then?", "")]
        head = base.model.lm_head
        with torch.no_grad():
            alone = [
                base.model(input_ids=torch.tensor([one.ids])).logits[0][make_pack([one]).sources] for one in examples
            ]
            with packed_attention(base.model):
                together = make_pack(examples)
                difference = (head(hidden_states(base.model, together)) - torch.cat(alone)).abs().max()
        assert float(difference) < 1e-4
        assert any(len(segment.above) > 1 for segment in together.segments)
        assert len(together.targets) == sum(sum(one.learned) for one in examples)

    def test_the_loss_does_not_depend_on_the_packs(self, base, template):
        import torch

        from llmkit.training.lora.objective import CrossEntropy

        examples = [template.example(talk("When? " * n, "May.")) for n in range(1, 8)]
        with torch.no_grad(), packed_attention(base.model):
            sums = [
                float(sum(CrossEntropy().loss(base.model, one) for one in pack_examples(examples, budget)))
                for budget in (16, 100, 4096)
            ]
        assert max(sums) - min(sums) < 1e-3

    def test_sharing_changes_no_gradient(self, base, template):
        import torch

        from llmkit.training.lora.objective import CrossEntropy

        examples = [template.example(talk("When does it rest? " * 9 + asked, "May.")) for asked in ("Who?", "I?", "")]
        weights = [layer.weight for layer in base.model.modules() if isinstance(layer, torch.nn.Linear)]
        before = [weight.requires_grad for weight in weights]
        gradients = []
        with packed_attention(base.model):
            for packs in ([make_pack(examples)], [make_pack([one]) for one in examples]):
                for weight in weights:
                    weight.requires_grad_(True)
                    weight.grad = None
                for one in packs:
                    CrossEntropy().loss(base.model, one).backward()
                gradients.append([weight.grad.clone() for weight in weights])
        for weight, was in zip(weights, before, strict=True):
            weight.grad = None
            weight.requires_grad_(was)
        for shared, alone in zip(*gradients, strict=True):
            torch.testing.assert_close(shared, alone, rtol=1e-3, atol=1e-5)


def test_a_recipe_says_everything_that_is_wrong(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("recipe: lora\nout: x\nrnak: 3\ndata: {type: chat}\nepochs: -1\n")
    with pytest.raises(ConfigError, match="3 problems") as caught:
        load_recipe(str(path))
    assert "unknown key 'rnak'; did you mean 'rank'?" in str(caught.value)
    with pytest.raises(ValueError, match="dpo learns from data of the type preferences"):
        LoraRecipe(out="x", data=[{"type": "chat", "path": "x"}], method="dpo")


def test_a_recipe_of_another_kind_and_a_pipeline_are_one_problem(tmp_path):
    from llmkit.training.reranker import recipe as reranker
    from llmkit.training.retriever import recipe as retriever

    for read, name, says in (
        (load_recipe, "train-retriever", "a recipe of `llmkit train retriever`"),
        (load_recipe, "docs-qa", "this is a pipeline"),
        (retriever.load_recipe, "lora", "a recipe of `llmkit train lora`"),
        (reranker.load_recipe, "train-retriever", "a recipe of `llmkit train retriever`"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            read(name)
        assert len(caught.value.problems) == 1


@pytest.mark.parametrize("name", ["lora", "lora-answerer"])
def test_the_shipped_recipes_are_read(name):
    assert load_recipe(name).recipe == "lora"


def test_qlora_without_a_gpu_is_one_sentence(tiny, tmp_path):
    import torch

    from llmkit.training.lora.train import prepare

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    rows = write(tmp_path / "c.jsonl", {"prompt": "Hi", "completion": "Ho"})
    recipe = LoraRecipe(
        base=str(tiny), out=str(tmp_path / "a"), data=[{"type": "instructions", "path": rows}], qlora=True
    )
    with pytest.raises(ModelError, match="qlora needs a CUDA GPU"):
        prepare(recipe)


def test_rows_for_the_answer_step_hold_the_answer_where_they_say_and_nowhere_when_they_refuse(tmp_path):
    from llmkit.encoders.hashing import HashingEncoder
    from llmkit.evaluation.metrics.normalize import contains
    from llmkit.knowledge.knowledge_base import KnowledgeBase
    from llmkit.retrieval.hybrid import Hybrid
    from llmkit.training.synthetic.answer_rows import Counts, question_rows
    from llmkit.types import Document, Sample

    months = "January February March April May June July August September October".split()
    with KnowledgeBase.create(tmp_path / "kb", encoder=HashingEncoder()) as kb:
        kb.add(
            [
                Document(f"d{n}", f"Pump number {n} rests in {month}.", title=f"Pump {n}")
                for n, month in enumerate(months)
            ]
        )
        samples = [
            Sample(f"s{n}", f"When does pump {n} rest?", (f"{month}.", "never"), {f"d{n}": 1.0})
            for n, month in enumerate(months)
        ]
        samples.append(Sample("none", "Who built the bridge?"))
        samples.append(Sample("lost", "When?", ("Monday",), {"d1": 1.0}))
        counts = Counts()
        made = list(question_rows(kb, Hybrid(), samples, counts, passages=3, refuse=1.0))
        again = list(question_rows(kb, Hybrid(), samples, Counts(), passages=3, refuse=1.0))
    assert made == again
    assert counts.without_answer_in_text == 1
    assert counts.answered == sum(row["answer"] is not None for row in made)
    assert counts.refused == len(made) - counts.answered
    assert {row["id"] for row in made if row["answer"]} == {f"s{n}" for n in range(10)}
    assert 0.7 * counts.answered <= counts.refused <= 1.8 * counts.answered
    assert "none" in {row["id"] for row in made if row["answer"] is None}
    lists = {json.dumps(row["passages"]) for row in made}
    assert len(lists) <= counts.contexts < len(made)
    for row in made:
        right = months[int(row["id"][1:])] if row["id"].startswith("s") else "bridge"
        if row["answer"] is None:
            assert not any(contains(passage["text"], right) for passage in row["passages"])
        else:
            answer, _, mark = row["answer"].partition(" [")
            assert answer == right
            assert contains(row["passages"][int(mark[:-1]) - 1]["text"], right)
    path = write(tmp_path / "rows.jsonl", *made)
    assert len(list(QuestionRows(path=path).conversations())) == len(made)
