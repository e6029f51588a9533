"""Reading a recipe, and telling one kind from another before its keys are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, get_args

from pydantic import BaseModel

from llmkit import assets, config
from llmkit.errors import ConfigError, Problem

Recipe = TypeVar("Recipe", bound=BaseModel)


def load(name: str, overrides: Sequence[str], model: type[Recipe]) -> Recipe:
    """The recipe of a file, by path or by its name among the pipelines.

    Raises:
        ConfigError: everything that is wrong with it; of another kind's recipe, or a pipeline, only that.
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
