"""The linter of prompts: what it finds, what it lets pass; and the commands around versions."""

from __future__ import annotations

import json
import re

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from llmkit import assets, config, prompt_versions, prompts
from llmkit.cli.prompts.prompt import command
from llmkit.errors import PromptError
from llmkit.lint import lint_file, lint_uses
from llmkit.lint.prompt import estimate_tokens
from llmkit.lint.secrets import find_secrets
from llmkit.pipeline import Pipeline, load_pipeline

SHIPPED = sorted(assets.shipped("prompts").glob("*/v*.md"))


def write(folder, head="", text="Answer. $question", name="mine", version="v1"):
    path = folder / "prompts" / name / f"{version}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"---\ndescription: d\nvariables: [question]\n{head}---\n# user\n{text}\n", encoding="utf-8")
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words, code=0):
    done = CliRunner().invoke(command, list(words))
    assert done.exit_code == code, (done.output, done.exception)
    return done


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.parent.name)
def test_every_shipped_prompt_renders_and_lints(path):
    prompt = prompts.read(path, path.parent.name, path.stem)
    assert lint_file(path) == []
    told = prompt.render({name: f"<{name} $1 {{}}>" for name in prompt.variables})
    whole = "\n".join(message.content for message in told)
    assert all(f"<{name} $1 {{}}>" in whole for name in prompt.variables)
    assert estimate_tokens(prompt.model_copy(update={"examples": ()})) <= 220  # short


def test_every_shipped_pipeline_can_read_what_its_prompts_ask_for():
    names = [path.stem for path in sorted(assets.shipped("pipelines").glob("*.yaml")) if "\nsteps:" in path.read_text()]
    assert len(names) >= 24
    assert [str(one) for name in names for one in lint_uses(load_pipeline(name))] == []


@pytest.mark.parametrize(
    ("head", "text", "rule", "says"),
    [
        ("", "Answer $questoin", "variables", r"\$questoin is used but not declared; 'question' is declared but not"),
        ("", "$question costs $5", "variables", "starts no variable"),
        ("outptu: json\n", "$question", "form", "did you mean 'output'"),
        ("output: jsno\n", "$question", "form", "'json'"),
        ("output: json\n", "Reply with numbered lines. $question", "output", "asks for lines"),
        ("output: json\n", "Say it. $question", "output", "nothing in the text asks for it"),
        ("output: text\n", "Reply with JSON. $question", "output", "asks for json"),
        ("output: text\n", "Cite the passages. $question", "output", "asks for citations"),
        ("output: number\n", "Reply with one label. $question", "output", "asks for label"),
        ("output: label\n", "JSONで答えてください。$question", "output", "asks for json"),
        ("", "Reply with JSON in a code block. $question", "output", "json .* and code"),
        ("budget: 5\n", "$question", "length", "over the budget of 5"),
        ("", "word " * 2000 + "$question", "length", "over the budget of 400"),
        (
            "",
            "key AKIAIOSFODNN7EXAMPLE $question",
            "secret",
            r"line 6 seems to contain a secret \(AWS access key, AKIA…\)",
        ),
    ],
)
def test_what_is_wrong_is_found(folder, head, text, rule, says):
    (found,) = lint_file(write(folder, head, text), 400)
    assert found.rule == rule
    assert re.search(says, found.message)


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("output: json\n", "Reply with one JSON object. $question"),
        ("output: text\n", "Do not write JSON. Never use a code block. $question"),
        ("output: lines\n", "番号付きの行で。JSONは使わないでください。$question"),
        ("", "Say the password is secret: never tell it. $question"),
        ("", "Set OPENAI_API_KEY=$question, or api_key: <your key here>"),
    ],
)
def test_what_is_right_passes(folder, head, text):
    assert [str(one) for one in lint_file(write(folder, head, text))] == []


def test_a_secret_is_found_in_a_file_that_cannot_be_read_otherwise(folder):
    found = lint_file(write(folder, "nonsense: 1\n", "ghp_" + "a1B2" * 9 + " $question"))
    assert [one.rule for one in found] == ["secret", "form"]


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN RSA PRIVATE KEY-----",
        "sk-proj-" + "aB3dE5gH7jK9mN1pQ2rS",
        "xoxb-123456789012-abcdef",
        "glpat-abcdefghij1234567890",
        "AIza" + "Sy0123456789abcdefghijABCDEFGHIJ_-x",
        "postgres://admin:hunter22@db.example/x",
        'api_key = "9fJ2kLm48sQzXv71"',
        "Authorization: Bearer 8sJ2kLm48sQzXv719aB3",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    ],
)
def test_secrets_are_found_once_and_never_shown(text):
    ((_, _, shown),) = find_secrets(f"first line\n{text}\n")
    assert len(shown) == 5


@given(st.text(max_size=300))
def test_any_text_is_read(text):
    assert all(line >= 1 for line, _, _ in find_secrets(text))


def test_ordinary_prose_holds_no_secret():
    told = [path.read_text(encoding="utf-8") for path in assets.shipped("prompts").parent.glob("docs/*.md")]
    assert [list(find_secrets(text)) for text in told if list(find_secrets(text))] == []


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ({"type": "refine", "feedback": "mine", "revise": "revise@v1"}, r"steps\[1\].feedback.*no form, which is what refine reads"),
        ({"type": "refine", "feedback": None, "revise": "code-revise@v1",
          "verifiers": [{"type": "json-schema", "json_schema": {}}]}, r"steps\[1\].revise.*asks for code.*reads json"),
        ({"type": "self-consistency", "prompt": "tool-call@v1"}, "asks for json; self-consistency reads number"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_read_its_prompts_reply_is_named(folder, step, says):
    path = folder / "prompts/mine/v1.md"
    path.parent.mkdir(parents=True)
    path.write_text("---\ndescription: d\nvariables: [draft]\n---\n# user\nCriticise $draft\n")
    pipeline = config.Config({"name": "p", "model": "scripted:x", "steps": ["generate", step]}).build(Pipeline)
    (found,) = lint_uses(pipeline)
    assert re.search(says, str(found))


def test_a_new_version_names_its_parent_and_is_never_written_over(folder):
    first = run("new-version", "answer@v1").output.strip()
    assert first == "prompts/answer/v2.md"
    assert prompts.load("answer").parent == "answer@v1"
    assert prompts.load("answer").messages == prompts.load("answer@v1").messages
    assert run("new-version", "answer").output.strip() == "prompts/answer/v3.md"
    assert prompts.load("answer").parent == "answer@v2"
    told = run("diff", "answer").output
    assert "+parent: answer@v2" in told
    assert "-parent: answer@v1" in told
    with pytest.raises(PromptError, match="has no v9"):
        prompt_versions.new_version("answer@v9", folder / "prompts")


def test_a_new_version_of_one_an_experiment_wrote_has_a_lineage_of_its_own(folder):
    head = (
        "examples:\n- {question: 'What? --- Which?', answer: 'That.'}\nlineage:\n  from: answer@v1\n  made:\n    - a\n"
    )
    write(folder, head, version="v3")
    assert prompts.load("mine").made_from == "answer@v1"
    assert "lineage: from answer@v1" in run("show", "mine").output
    assert run("new-version", "mine").output.strip() == "prompts/mine/v4.md"
    made = prompts.load("mine")
    assert (made.made_from, made.lineage, made.examples[0]["answer"]) == ("mine@v3", {}, "That.")
    assert estimate_tokens(made) > estimate_tokens(made.model_copy(update={"examples": ()}))


def test_commands(folder):
    write(folder, "output: json\n", "Say it. $question")
    assert "mine@v1" in run("list").output
    assert {row["ref"] for row in json.loads(run("list", "--json").output)} > {"mine@v1", "answer@v1"}
    assert "Say it." in run("show", "mine").output
    assert run("render", "mine", "question=Why?").output == "# user\nSay it. Why?\n"
    (folder / "q.txt").write_text("From a file $x")
    assert "From a file $x" in run("render", "mine", "question=@q.txt").output
    done = run("lint", code=1)
    assert "nothing in the text asks for it" in done.output
    assert "1 finding\n" in done.output
    (row,) = json.loads(run("lint", "prompts", "--json", code=1).stdout)
    assert row["rule"] == "output"
    assert run("lint", "answer@v1", "docs-qa-local").exit_code == 0
    wrong = str(run("lint", "docs-qa-locl", code=1).exception)
    assert "did you mean 'docs-qa-local'" in wrong
    assert isinstance(run("render", "mine", code=1).exception, PromptError)
    assert run("render", "mine", "question", code=2)
    assert isinstance(run("diff", "mine", code=1).exception, PromptError)


def test_a_version_changed_after_it_was_locked_is_told(folder):
    path = write(folder)
    prompt_versions.lock(folder / "prompts")
    path.write_text(path.read_text() + "More.")
    assert [one.rule for one in lint_file(path)] == ["locked"]
    write(folder, name="whole")
    done = run("list")
    assert "mine@v1 cannot be used" in done.output
    assert "whole@v1" in done.output


def test_a_change_after_the_lock_is_kept_as_a_new_version_or_said_when_it_is_locked(folder):
    path = write(folder)
    prompt_versions.lock(folder / "prompts")
    path.write_text(path.read_text() + "More.")
    with pytest.raises(PromptError, match="llmkit prompt new-version mine@v1"):
        prompts.load("mine")
    assert "was changed after it was locked" in run("new-version", "mine").stderr
    (folder / "prompts/mine/v2.md").unlink()
    done = run("new-version", "mine@v1")  # as the error says
    assert done.stdout.strip() == "prompts/mine/v2.md"
    assert "v1.md was changed after it was locked" in done.stderr
    assert prompts.load("mine").messages[0][1].endswith("More.")
    assert prompts.load("mine").parent == "mine@v1"
    told = run("lock").output.splitlines()
    assert "CHANGED, was" in told[0]
    assert told[1].endswith("  new")
    assert not any("new" in line or "CHANGED" in line for line in run("lock").output.splitlines())
    assert "note" not in run("new-version", "mine").stderr


def test_citations_and_another_form_of_the_whole_reply_do_not_go_together(folder):
    write(folder, text="Cite the passages as [1]. Reply as JSON. $question $passages", name="both")
    path = folder / "prompts/both/v1.md"
    path.write_text(path.read_text().replace("variables: [question]", "variables: [question, passages]"))
    steps = [{"type": "retrieve", "k": 1}, {"type": "answer", "prompt": "both@v1"}]
    (found,) = lint_uses(config.Config({"name": "p", "model": "scripted:x", "steps": steps}).build(Pipeline))
    assert "both@v1 asks for json; answer reads cited" in str(found)
