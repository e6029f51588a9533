"""Versioned prompts: declared variables, locked digests, data that is never a template."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmkit import assets, prompt_versions, prompts
from llmkit.errors import ConfigError, PromptError

GOOD = "---\ndescription: d\nvariables: [name]\n---\n# system\nBe kind.\n# user\nHello $name, that is $$5.\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts/greet").mkdir(parents=True)
    (tmp_path / "prompts/greet/v1.md").write_text(GOOD)
    return tmp_path / "prompts"


def test_renders_once_and_never_reads_values_as_templates(folder):
    messages = prompts.load("greet@v1").render({"name": "$name {{7*7}} ${x}"})
    assert [(m.role, m.content) for m in messages] == [
        ("system", "Be kind."),
        ("user", "Hello $name {{7*7}} ${x}, that is $5."),
    ]


def test_the_highest_version_is_the_default_and_ten_is_more_than_nine(folder):
    for version in ("v9", "v10"):
        (folder / f"greet/{version}.md").write_text(GOOD)
    assert prompts.load("greet").ref == "greet@v10"


@pytest.mark.parametrize(
    ("ref", "says"),
    [
        ("great@v1", "did you mean 'greet'"),
        ("greet@v7", "has no v7"),
        ("../greet", "not a prompt reference"),
        ("no/file.md", "no prompt file"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_there_is(folder, ref, says):
    with pytest.raises(PromptError, match=says):
        prompts.load(ref)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no head\n", "head between"),
        (GOOD.replace("$name", "$nmae"), r"\$nmae is used but not declared; 'name' is declared but not used"),
        (GOOD.replace("$$5", "$5"), "starts no variable"),
        (GOOD.replace("# system", "# robot"), "must stand under"),
        (GOOD.replace("variables", "varaibles"), "did you mean 'variables'"),
    ],
)
def test_a_malformed_prompt_is_refused(folder, text, says):
    (folder / "greet/v1.md").write_text(text)
    with pytest.raises(PromptError, match=says):
        prompts.load("greet@v1")


def test_missing_and_unknown_values_are_named(folder):
    with pytest.raises(PromptError, match="no value for 'name'; unknown variable 'nam'; did you mean 'name'"):
        prompts.load("greet@v1").render({"nam": "x"})


def test_a_locked_version_cannot_change(folder):
    prompt_versions.lock(folder)
    prompts.load("greet@v1")
    (folder / "greet/v1.md").write_text(GOOD.replace("kind", "cruel"))
    with pytest.raises(PromptError, match="was changed after greet@v1 was locked"):
        prompts.load("greet@v1")


def test_line_ends_do_not_change_the_digest(folder):
    before = prompts.load("greet@v1").digest
    (folder / "greet/v1.md").write_bytes(GOOD.replace("\n", "\r\n").encode())
    assert prompts.load("greet@v1").digest == before


def test_every_shipped_prompt_loads_and_is_locked():
    shipped = assets.shipped("prompts")
    locked = json.loads((shipped / prompts.LOCK).read_text())
    files = {f"{path.parent.name}@{path.stem}": path for path in shipped.glob("*/v*.md")}
    assert set(files) == set(locked)
    for ref, path in files.items():
        assert prompts.read(path, path.parent.name, path.stem).digest == locked[ref], ref


@given(st.text(max_size=60))
def test_any_value_appears_as_given(value):
    prompt = prompts.Prompt(
        name="p", version="v1", description="", variables=("x",), messages=(("user", "<$x>"),), digest=""
    )
    assert prompt.render({"x": value})[0].content == f"<{value}>"


def test_assets_are_found_nearest_first_and_never_outside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "secret.yaml").write_text("a: 1")
    assert assets.find("pipelines", "docs-qa") == assets.shipped("pipelines").resolve() / "docs-qa.yaml"
    (tmp_path / "pipelines/docs-qa.yaml").write_text("name: mine")
    assert assets.find("pipelines", "docs-qa") == tmp_path / "pipelines/docs-qa.yaml"
    with pytest.raises(ConfigError, match="did you mean 'docs-qa'") as caught:
        assets.find("pipelines", "docs-qq")
    assert str(tmp_path / "pipelines") in str(caught.value)
    with pytest.raises(ConfigError):
        assets.find("prompts", "../secret")


def test_copying_out_never_overwrites(tmp_path):
    written = assets.copy_out(tmp_path)
    assert tmp_path / "pipelines/docs-qa.yaml" in written
    (tmp_path / "pipelines/docs-qa.yaml").write_text("mine")
    assert assets.copy_out(tmp_path) == []
    assert (tmp_path / "pipelines/docs-qa.yaml").read_text() == "mine"
