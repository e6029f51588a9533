"""What the recipes of all trainings share: how a file is read, and the settings that mean the same everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field

from llmkit import assets, config
from llmkit.errors import ConfigError, Problem

Recipe = TypeVar("Recipe", bound=BaseModel)

_LAST_LAYERS = re.compile(r"last-[1-9][0-9]*")


class Section(BaseModel):
    """A frozen group of keys; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LoraSettings(Section):
    """Low-rank adapters instead of full weights (Hu et al. 2022); they are merged when the model is saved."""

    rank: int = Field(default=16, ge=1)
    """Rank of the update."""
    alpha: float = Field(default=32.0, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the input of the adapter."""


def check_layers(train: str) -> None:
    """Check the setting `train`.

    Raises:
        ValueError: neither ``all`` nor ``last-N``.
    """
    if train != "all" and not _LAST_LAYERS.fullmatch(train):
        raise ValueError(f"train: expected 'all' or 'last-N', as in last-2, not {train!r}")


def plain(recipe: BaseModel) -> dict[str, Any]:
    """The recipe as JSON values, its sources of data as their configuration."""
    values = recipe.model_dump(mode="json", exclude={"data", "dev", "test"})
    for name in ("data", "dev", "test"):
        if name in type(recipe).model_fields:
            source = getattr(recipe, name)
            values[name] = None if source is None else source.config()
    return values


def load(name: str, overrides: Sequence[str], model: type[Recipe]) -> Recipe:
    """Read a recipe by its path, or by its name among the pipelines.

    Args:
        name: path of a YAML file, or a name as `llmkit init` lists it.
        overrides: ``path=value``, as ``--set`` takes them.
        model: the class of the recipe.

    Raises:
        ConfigError: every problem of the recipe; if the file is a pipeline or a recipe of another command, only that.
    """
    found = config.read(assets.find("pipelines", name)).override(overrides)
    (kind,) = get_args(model.model_fields["recipe"].annotation)
    given = found.values.get("recipe")
    wrong = ""
    if isinstance(given, str) and given != kind:
        wrong = f"this is a recipe of `llmkit train {given}`; `llmkit train {kind}` reads those with recipe: {kind}"
    elif given is None and "steps" in found.values and "data" not in found.values:
        wrong = f"this is a pipeline; `llmkit train {kind}` reads recipes, which have recipe: {kind}"
    if wrong:
        line, column = found.places.get(("recipe",), (None, None))
        raise ConfigError([Problem("recipe", wrong, line, column)], found.source)
    return found.build(model)
