"""Setting one value of a configuration by its dotted path: ``steps.retrieve.k=20``."""

from __future__ import annotations

from typing import Any

from llmkit.errors import ConfigError, unknown


def assign(values: Any, path: list[str], value: Any) -> None:
    """Set the value at a path of keys, list positions and ``type`` or ``name`` words of list items, in place.

    Raises:
        ConfigError: there is nothing at the path; the message says where it ends and which keys exist there.
    """
    here, walked = values, ""
    for position, key in enumerate(path):
        last = position == len(path) - 1
        if isinstance(here, list):
            index = _item(here, key, walked)
            if last:
                here[index] = value
            elif isinstance(here[index], str):  # a bare word: {type: word}
                here[index] = {"type": here[index]}
            here = here[index]
        elif isinstance(here, dict):
            if last:
                here[key] = value
            elif isinstance(here.get(key), str):
                here[key] = {"type": here[key]}
            here = here.setdefault(key, {})
        else:
            raise ConfigError(f"{walked or 'the file'} is {kind_of(here)}: it has no {key!r}")
        walked = f"{walked}.{key}" if walked else key


def place(values: Any, path: str) -> tuple[str | int, ...]:
    """Keys and list positions that a dotted path passes.

    Raises:
        ConfigError: there is nothing at the path; the message says where it ends and which keys exist there.
    """
    here, walked = values, ""
    found: list[str | int] = []
    for key in path.split("."):
        if isinstance(here, list):
            found.append(_item(here, key, walked))
        elif isinstance(here, dict) and key in here:
            found.append(key)
        elif isinstance(here, dict):
            raise ConfigError(unknown(f"key of {walked or 'the file'}", key, sorted(here)))
        else:
            raise ConfigError(f"{walked} is {kind_of(here)}: it has no {key!r}")
        here = here[found[-1]]
        walked = f"{walked}.{key}" if walked else key
    return tuple(found)


def _item(items: list[Any], key: str, walked: str) -> int:
    if key.isdigit():
        if int(key) < len(items):
            return int(key)
        raise ConfigError(f"{walked} has {len(items)} items: there is no {key}")
    words = [
        {item} if isinstance(item, str) else {str(item.get("name")), str(item.get("type"))}
        for item in items
        if isinstance(item, str | dict)
    ]
    found = [index for index, names in enumerate(words) if key in names]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{walked} has {len(found)} items {key!r}: say which by position, {walked}.{found[0]}")
    known = sorted(set().union(*words) - {"None"}) if words else []
    raise ConfigError(unknown(f"item of {walked}", key, known))


def kind_of(value: object) -> str:
    """Kind of a YAML value, for messages: ``a list``, ``a mapping``."""
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
