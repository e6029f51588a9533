"""YAML: every problem at once, each with its place; nothing but data."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from llmkit import config, registry
from llmkit.errors import ConfigError
from llmkit.part import Part
from llmkit.pipeline import Pipeline
from llmkit.registry import one_of


class Slow(Part):
    family: ClassVar[str] = "horse"
    type: ClassVar[str] = "slow"
    speed: int = Field(default=1, ge=1)
    rider: Annotated[Any, one_of("horse")] | None = None


class Fast(Part):
    family: ClassVar[str] = "horse"
    type: ClassVar[str] = "fast"
    speed: int


class Stable(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    horses: tuple[Annotated[Any, one_of("horse")], ...]


@pytest.fixture(autouse=True)
def _horses(monkeypatch):
    table = {**registry.BUILTIN, "horse": {"slow": f"{__name__}:Slow", "fast": f"{__name__}:Fast"}}
    monkeypatch.setattr(registry, "BUILTIN", table)


def problems(text: str, model: type[BaseModel] = Stable, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    with pytest.raises(ConfigError) as caught:
        config.parse(text, "file.yaml").override(overrides).build(model)
    return {problem.path: problem for problem in caught.value.problems}


def test_a_bare_word_is_a_type_and_parts_nest():
    text = "name: s\nhorses:\n  - slow\n  - {type: slow, rider: {type: fast, speed: 3}}\n"
    stable = config.parse(text).build(Stable)
    assert stable.horses == (Slow(), Slow(rider=Fast(speed=3)))
    assert stable.horses[1].config() == {"type": "slow", "speed": 1, "rider": {"type": "fast", "speed": 3}}


def test_all_problems_at_once_with_place_near_match_and_known_names():
    text = (
        "nme: s\n"
        "horses:\n"
        "  - type: slwo\n"
        "  - type: slow\n"
        "    sped: 2\n"
        "    speed: 0\n"
        "    rider:\n"
        "      type: fast\n"
        "      speed: many\n"
        "  - 7\n"
    )
    found = problems(text)
    assert set(found) == {
        "nme", "name", "horses[0].type", "horses[1].sped", "horses[1].speed", "horses[1].rider.speed", "horses[2]",
    }  # fmt: skip
    assert found["nme"].line == 1
    assert "did you mean 'name'" in found["nme"].message
    assert found["name"].message == "is required"
    assert (found["horses[0].type"].line, found["horses[0].type"].column) == (3, 5)
    assert "did you mean 'slow'" in found["horses[0].type"].message
    assert "known: fast, slow" in found["horses[0].type"].message
    assert "did you mean 'speed'" in found["horses[1].sped"].message
    assert found["horses[1].rider.speed"].line == 9
    assert "'many'" in found["horses[1].rider.speed"].message
    assert "a word or a mapping" in found["horses[2]"].message


def test_a_text_where_a_list_belongs_is_told_in_the_words_of_yaml():
    with pytest.raises(ConfigError, match="input should be a list, got 'dense'"):
        config.parse("name: x\nsteps: dense").build(Pipeline)


def test_wrong_items_do_not_make_a_list_too_short_and_none_do():
    with pytest.raises(ConfigError) as refused:
        config.parse("name: x\nsteps: [retrive, extrct]").build(Pipeline)
    assert [problem.path for problem in refused.value.problems] == ["steps[0]", "steps[1]"]
    with pytest.raises(ConfigError, match="at least 1 item"):
        config.parse("name: x\nsteps: []").build(Pipeline)


def test_duplicate_keys_are_refused_with_both_lines():
    found = problems("name: a\nhorses: []\nname: b\n")
    assert found["name"].line == 3
    assert "first on line 1" in found["name"].message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x 1\nb: *x\n", "anchors and aliases"),
        ("a: !!python/object/apply:os.system [ls]\n", "not read"),
        ("a: !thing 3\n", "not read"),
        ("a: {<<: {b: 1}}\n", "merge"),
        ("a: [1, 2\n", "not YAML"),
        ("- a\n- b\n", "expected a mapping"),
        ("just words\n", "expected a mapping"),
        ("a: \x00\n", "not YAML"),
        ("? [a, b]\n: 1\n", "plain words"),
        ("a: " + "[" * 60 + "]" * 60 + "\n", "nested deeper"),
        ("a: ${NOT_SET_ANYWHERE}\n", "NOT_SET_ANYWHERE is not set"),
    ],
)
def test_what_is_not_plain_data_is_refused(text, says):
    with pytest.raises(ConfigError, match=says):
        config.parse(text)


def test_variables_come_from_the_environment_with_defaults(monkeypatch):
    monkeypatch.setenv("SPEED", "4")
    monkeypatch.delenv("NAME", raising=False)
    text = "name: ${NAME:-s}-x\nhorses: [{type: fast, speed: '${SPEED}'}]\n"
    stable = config.parse(text).build(Stable)
    assert stable.name == "s-x"
    assert stable.horses[0].speed == 4


def test_what_a_variable_holds_is_never_structure(monkeypatch):
    monkeypatch.setenv("NAME", "{a: 1}\nhorses: [fast]")
    values = config.parse("name: a ${NAME}\n").values
    assert values == {"name": "a {a: 1}\nhorses: [fast]"}


def test_overrides_go_by_key_position_type_and_name():
    text = "name: s\nhorses:\n  - slow\n  - type: fast\n    speed: 3\n"
    changed = config.parse(text).override(["name=t", "horses.fast.speed=9", "horses.0.speed=5"])
    stable = changed.build(Stable)
    assert (stable.name, stable.horses[0].speed, stable.horses[1].speed) == ("t", 5, 9)
    assert config.parse(text).build(Stable).horses[1].speed == 3


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("horses.fsat.speed=1", "did you mean 'fast'"),
        ("horses.7.speed=1", "there is no 7"),
        ("speed", "expected path=value"),
        ("name.first=1", "name"),
        ("horses.slow.speed=0", "greater than or equal to 1"),
    ],
)
def test_an_override_that_leads_nowhere_says_so(assignment, says):
    text = "name: s\nhorses: [slow, {type: fast, speed: 1}]\n"
    with pytest.raises(ConfigError, match=says):
        config.parse(text).override([assignment]).build(Stable)


def test_two_items_of_one_type_need_a_position():
    text = "name: s\nhorses: [slow, slow]\n"
    with pytest.raises(ConfigError, match="by position"):
        config.parse(text).override(["horses.slow.speed=2"])


def test_a_file_that_cannot_be_read_says_which(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.yaml"):
        config.read(tmp_path / "no.yaml")
    (tmp_path / "latin.yaml").write_bytes("name: é".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml"):
        config.read(tmp_path / "latin.yaml")


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text("abc: -#'\"{}[],\n", max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcdef", min_size=1), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcdef", min_size=1), plain, max_size=4))
def test_plain_values_come_back_as_they_were(values):
    import yaml

    assert config.parse(yaml.safe_dump(values)).values == values


@given(st.text(max_size=200))
def test_any_text_parses_or_is_refused_with_our_error(text):
    try:
        config.parse(text)
    except ConfigError:
        pass


def test_a_changed_copy_is_validated_and_leaves_cached_state_behind():
    horse = Fast(speed=2)
    horse.__dict__["engine"] = object()
    faster = horse.replace(speed=5)
    assert faster.speed == 5
    assert "engine" not in faster.__dict__
    with pytest.raises(ValueError, match="speed"):
        horse.replace(speed="many")
    assert horse.digest == Fast(speed=2).digest != faster.digest


def test_the_variable_of_the_data_sets_says_what_to_set_it_to(monkeypatch):
    monkeypatch.delenv("LLMKIT_DATA", raising=False)
    with pytest.raises(ConfigError, match=r"LLMKIT_DATA is not set: set it to the folder .* public data sets"):
        config.parse("a: ${LLMKIT_DATA}/qa\n")
