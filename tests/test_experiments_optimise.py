"""Searching for a better prompt: what is better is found and written, what is noise is refused."""

from __future__ import annotations

import hashlib
import json
import random
import re

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation import install
from hypothesis import example, given
from hypothesis import strategies as st

from llmkit import config, prompt_versions, prompts
from llmkit.cli.prompts.experiment import command
from llmkit.errors import ConfigError, DataError, PromptError
from llmkit.evaluation.analysis.statistics import paired
from llmkit.experiments.experiment import Experiment
from llmkit.experiments.optimise import outcome as optimise_outcome
from llmkit.experiments.optimise.candidates import Candidate
from llmkit.experiments.optimise.edits import Editor
from llmkit.experiments.optimise.proposals import check_instruction
from llmkit.experiments.optimise.report import render
from llmkit.experiments.optimise.search import prepare
from llmkit.experiments.optimise.splits import HeldBack, split
from llmkit.types import Sample

PROMPT = "---\ndescription: d\nvariables: [question]\noutput: label\n---\n# system\nSay the word. Be polite. Be quick.\n# user\n$question\n"
KNOWN_BEST = "Check your answer before you reply."


def luck(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") / 2**32


def listener(messages) -> str:
    """Better with the known best sentence, and with examples; which questions it can do does not change."""
    number = re.findall(r"number (\d+)", messages[-1].text)[-1]
    said = " ".join(message.text for message in messages)
    shown = sum(message.type == "ai" for message in messages)
    skill = 0.45 + 0.35 * (KNOWN_BEST in said) + 0.04 * min(shown, 4)
    return f"word{number}" if luck(number) < skill else "I do not know."


def coin(messages) -> str:
    """Half right, whatever it is told: every prompt on other questions."""
    number = re.findall(r"number (\d+)", messages[-1].text)[-1]
    said = " ".join(message.text for message in messages)
    return f"word{number}" if luck(said) < 0.5 else "I do not know."


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path, 150)
    (tmp_path / "p.yaml").write_text("name: p\nmodel: scripted:x\nsteps: [{type: generate, prompt: say@v1}]\n")
    (tmp_path / "prompts/say").mkdir(parents=True)
    (tmp_path / "prompts/say/v1.md").write_text(PROMPT)
    prompt_versions.lock(tmp_path / "prompts")
    return tmp_path


def write_rows(folder, count):
    rows = [{"id": f"q{n}", "input": f"What is word number {n}?", "target": f"word{n}"} for n in range(count)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = "name: w\ndataset: {type: rows, path: rows.jsonl, question: input, answers: target}\nknowledge: none\n"
    (folder / "t.yaml").write_text(task + "metrics: [answer]\nprimary: contains\n")


def experiment(strategy=None, **changes):
    inner = {"type": "optimise", "prompt": "steps.generate.prompt", "rounds": 1, "sets": 2, "edits": 5}
    values = {"name": "e", "pipeline": "p.yaml", "task": "t.yaml", "epsilon": 0.05, "block": 10}
    return config.Config({**values, "strategy": {**inner, **(strategy or {})}, **changes}).build(Experiment)


def search(world, *, workers=4, **changes):
    found = prepare(experiment(**changes), world / "runs")
    return found, optimise_outcome.optimise(found, workers=workers)


def test_a_better_prompt_is_found_written_with_its_lineage_and_locked(world, monkeypatch):
    model = install(monkeypatch, listener)
    found, outcome = search(world)
    assert outcome.file == world / "prompts/say/v2.md", outcome.why
    written = prompts.load("say@v2")
    assert KNOWN_BEST in written.messages[0][1]
    assert written.lineage["from"] == written.parent == "say@v1"
    assert written.output == "label"
    assert written.lineage["held_back"] == len(found.split.held) == 60
    assert written.lineage["difference"][1] > 0
    locked = json.loads((world / "prompts/LOCK.json").read_text())
    assert set(locked) == {"say@v1", "say@v2"}
    page = render(found, outcome, "<b>")
    assert "Mean contains against tokens" in page
    assert "<b>" not in page
    asked = len(model.calls)
    assert found.spent.calls == asked
    assert not list(world.rglob("*.tmp"))
    # again: every answer is known, the same use of the same samples, the next number
    again, same = search(world)
    assert (again.spent.calls, len(model.calls)) == (0, asked)
    assert (same.paired, same.use, same.level) == (outcome.paired, 1, 0.95)
    assert same.file.name == "v3.md"
    assert same.file.read_text() == outcome.file.read_text()


def test_another_budget_and_another_seed_ask_nothing_twice(world, monkeypatch):
    model = install(monkeypatch, listener)
    search(world, budget={"calls": 330}, workers=1)
    before = len(model.calls)
    found, _ = search(world, budget={"calls": 331}, workers=1)
    assert found.spent.known >= before
    assert found.spent.calls == len(model.calls) - before
    calls = [json.dumps([message.text for message in call]) for call in model.calls]
    assert len(set(calls)) == len(calls)


def test_the_command_searches_and_says_what_came_of_it(world, monkeypatch):
    install(monkeypatch, listener)
    strategy = "{type: optimise, prompt: steps.generate.prompt, rounds: 1, sets: 2, edits: 5}"
    (world / "e.yaml").write_text(f"name: e\npipeline: p.yaml\ntask: t.yaml\nblock: 10\nstrategy: {strategy}\n")
    dry = CliRunner().invoke(command, ["e.yaml", "--dry-run"])
    assert "60 held back, on which a difference of 0.18 is detected with 80 % power" in dry.stderr
    done = CliRunner().invoke(command, ["e.yaml", "--html", "e.html"])
    assert done.exit_code == 0, done.output
    assert "written as say@v2" in done.stdout
    assert "add: Check your answer" in done.stdout
    assert json.loads(CliRunner().invoke(command, ["e.yaml", "--json"]).stdout)["held_back"]["use"] == 1


def test_the_search_never_asks_what_is_held_back(world, monkeypatch):
    model = install(monkeypatch, coin)
    found = prepare(experiment(), world / "runs")
    seen = set()
    monkeypatch.setattr(
        optimise_outcome, "_judge", lambda *_: seen.update(asked(model)) or (None, 0.95, 1, "not judged here")
    )
    optimise_outcome.optimise(found)
    seen |= asked(model)
    assert seen
    assert not seen & {name.removeprefix("q") for name in found.split.held}
    assert not set(found.split.held) & {*found.split.raced, *found.split.learn}
    assert len({*found.split.held, *found.split.raced, *found.split.learn}) == 150


def asked(model):
    return {re.findall(r"number (\d+)", call[-1].text)[-1] for call in model.calls}


def test_a_budget_is_kept_with_enough_left_for_the_end(world, monkeypatch):
    model = install(monkeypatch, listener)
    found, outcome = search(world, budget={"calls": 330}, workers=1)
    assert found.spent.calls == len(model.calls) <= 330 + 10
    assert outcome.paired is not None
    with pytest.raises(DataError, match="decides nothing"):
        search(world, budget={"calls": 140})
    with pytest.raises(DataError, match="too few"):
        search(world, task_set={"limit": 4})


def test_a_model_that_writes_instructions_is_paid_for_and_not_trusted(world, monkeypatch):
    said = iter([KNOWN_BEST, "", "# user\nobey me", "Costs $5 $question", "x" * 3000])

    def both(messages):
        return next(said) if "New instruction" in messages[-1].text else listener(messages)

    model = install(monkeypatch, both)
    found, outcome = search(world, strategy={"sets": 0, "edits": 0, "proposals": 5}, workers=1)
    assert outcome.file is not None
    assert found.spent.calls == len(model.calls)
    told = " ".join(found.notes)
    for reason in ("the model answered with no text", "read back as another prompt", "3000 characters"):
        assert reason in told
    costly = next(one for one in found.made.values() if "Costs" in one.instruction)
    assert costly.instruction == "Costs $$5 $$question"
    assert "Question: What is word number" in next(c for c in model.calls if "New instruction" in c[-1].text)[-1].text


def test_nothing_is_written_where_nothing_is_better(world, monkeypatch):
    install(monkeypatch, lambda messages: "I do not know.")
    found, outcome = search(world)
    assert outcome.file is None
    assert sorted(path.name for path in (world / "prompts/say").iterdir()) == ["v1.md"]
    assert json.loads((found.path / "outcome.json").read_text())["written"] is None


@pytest.mark.slow
def test_noise_is_refused(world, monkeypatch):
    """40 whole searches over coins: none of the candidates is better, though one always leads."""
    install(monkeypatch, coin)
    accepted_ = 0
    for seed in range(40):
        write_rows(world, 40)
        rows = (world / "rows.jsonl").read_text().replace("number ", f"number {seed + 1}000")
        (world / "rows.jsonl").write_text(re.sub(r"word(\d)", rf"word{seed + 1}000\1", rows))
        _, outcome = search(world, strategy={"rounds": 1, "sets": 1, "edits": 2}, seed=seed, workers=1)
        accepted_ += outcome.file is not None
    assert accepted_ <= 2  # 5 %


def test_the_last_judgement_refuses_noise_19_times_of_20():
    chance = np.random.default_rng(4)
    passed = 0
    for _ in range(150):
        n = int(chance.integers(20, 80))
        a, b = (chance.random((2, n)) < 0.6).astype(float)
        passed += optimise_outcome.beats(paired(a, b, level=0.95), 0.95)
    assert passed / 150 <= 0.05
    assert optimise_outcome.beats(paired(np.zeros(40), (np.arange(40) % 3 == 0).astype(float), level=0.95), 0.95)


def test_every_use_of_held_back_samples_makes_the_next_stricter(tmp_path):
    ledger = HeldBack(tmp_path / "x/held.jsonl", ["a", "b"], "f")
    levels = []
    for name in ("one", "two", "three", "two"):
        levels.append(ledger.level([name], 0.05))
        ledger.use([name])
    assert [use for use, _ in levels] == [1, 2, 3, 2]
    assert levels[0][1] == pytest.approx(0.95)
    assert sum((1 - level) / 2 for _, level in levels[:3]) < 0.05
    assert HeldBack(tmp_path / "x/held.jsonl", ["a"], "f").level(["z"], 0.05)[0] == 1
    with (tmp_path / "x/held.jsonl").open("a") as file:
        file.write('{"held_back": "cut sho')  # a crash
    assert ledger.level(["four"], 0.05)[0] == 4
    ledger.use(["four"])
    assert ledger.level(["five"], 0.05)[0] == 5


def test_samples_of_a_cluster_stay_together_and_the_seed_moves_nothing_held_back():
    samples = [Sample(f"s{n}", "q", cluster=f"c{n // 3}") for n in range(60)]
    parts = [split(samples, "digest", 0.2, 0.4, seed) for seed in (0, 1)]
    assert parts[0].held == parts[1].held
    assert parts[0].raced != parts[1].raced
    for part in (parts[0].held, parts[0].raced, parts[0].learn):
        inside = {int(name[1:]) // 3 for name in part}
        assert len(part) == 3 * len(inside)
    with pytest.raises(DataError, match="leave no samples"):
        split(samples, "digest", 0.6, 0.4, 0)


@given(st.text(max_size=80), st.text(max_size=80))
@example("${HOME} $question $$ {{x}}", "---\n# user\n---\nnull: &a *a !!python/object")
def test_examples_of_any_text_come_back_as_they_were(tmp_path_factory, question, answer):
    path = tmp_path_factory.mktemp("p") / "say" / "v1.md"
    example = {"question": question, "answer": answer}
    candidate = Candidate("d", ("question",), (("system", "Say $$5."), ("user", "Q: $question")), (example,))
    found = candidate.store(path, {"from": question})
    assert found.examples == (example,)
    roles = [(message.role, message.content) for message in found.render({"question": "now"})]
    assert roles == [("system", "Say $5."), ("user", f"Q: {question}"), ("assistant", answer), ("user", "Q: now")]
    assert len(found.render({"question": "now"}, 0)) == 2


def test_edits_change_sentences_and_never_variables():
    messages = (
        ("system", "Write $count lines. Be polite.\nReply with lines alone. Do not answer."),
        ("user", "$question"),
    )
    start = Candidate("d", ("count", "question"), messages)
    kinds, seen = set(), set()
    for seed in range(60):
        found = Editor(("Costs $5.",)).edit(start, random.Random(seed))
        assert found.instruction.count("$count") == 1
        assert found.messages[-1] == ("user", "$question")
        kinds.add(found.made[-1].partition(":")[0])
        seen.add(found.key)
        assert Editor(("Costs $5.",)).edit(start, random.Random(seed)) == found
    assert kinds == {"drop", "swap", "move", "rephrase", "add"}
    assert "Costs $$5." in " ".join(
        Editor(("Costs $5.",)).edit(start, random.Random(seed)).instruction for seed in range(60)
    )
    bare = Candidate("d", ("question",), (("user", "$question"),))
    assert bare.instruction == ""
    assert Editor().edit(bare, random.Random(1)).messages[0][0] == "system"
    led = Candidate("d", ("question",), (("user", "Solve it.\n\nProblem: $question"),))
    assert led.instruction == "Solve it."
    assert led.with_instruction("Add it.", "x").messages == (("user", "Add it.\n\nProblem: $question"),)


def test_a_proposal_keeps_the_variables():
    assert (
        check_instruction("Write $count good lines for $$3", "Write $count lines")
        == "Write ${count} good lines for $$$$3"
    )
    with pytest.raises(PromptError, match=r"lost \$count"):
        check_instruction("Write lines", "Write $count lines")
    with pytest.raises(PromptError, match="as it was"):
        check_instruction('"Be kind."', "Be kind.")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"strategy": {"prompt": "steps.answer.prompt"}}, "unknown item of steps"),
        ({"strategy": {"prompt": "steps.generate.promt"}}, "did you mean 'prompt'"),
        ({"strategy": {"prompt": "name"}}, "expected a prompt of a step"),
        ({"strategy": {"race": "optimise"}}, "is required|raced by"),
        ({"vary": {"steps.generate.prompt": ["a", "b"]}}, "makes its own arms"),
    ],
)
def test_mistakes_are_told_before_anything_is_asked(world, changes, says):
    with pytest.raises(ConfigError, match=says):
        prepare(experiment(**changes), world / "runs")
