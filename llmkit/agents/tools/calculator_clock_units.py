"""Tools ``calculator``, ``now`` and ``convert``: arithmetic, the time, units of measure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from llmkit import arithmetic
from llmkit.agents.tool import Arguments, Output, Tool
from llmkit.errors import DataError
from llmkit.extras import optional
from llmkit.part import Part
from llmkit.protocols import Context

_NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,63}$"


class Calculator(Part):
    """Evaluates arithmetic exactly, without Python's eval: ``+ - * / // % **`` over numbers and brackets."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "calculator"

    name: str = Field(default="calculator", pattern=_NAME)
    """Name of the tool for the model."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            return Output(arithmetic.format_number(arithmetic.value(given["expression"].replace("^", "**"))))

        schema = Arguments().text("expression", "as in (48 / 2 + 3) * 1.5").schema
        return (Tool(self.name, "Works out arithmetic.", schema, call, untrusted=False),)


class Now(Part):
    """Gives the date and the time."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "now"

    name: str = Field(default="now", pattern=_NAME)
    """Name of the tool for the model."""
    zone: str = "UTC"
    """Time zone, as in ``Europe/Berlin``."""

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"no time zone {value!r}; write one as in Europe/Berlin") from error
        return value

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            return Output(datetime.now(ZoneInfo(self.zone)).strftime(f"%A, %Y-%m-%d %H:%M ({self.zone})"))

        return (Tool(self.name, "Tells the date and the time.", Arguments().schema, call, untrusted=False),)


class Convert(Part):
    """Converts between units of measure, with pint."""

    family: ClassVar[str] = "tool"
    type: ClassVar[str] = "convert"

    name: str = Field(default="convert", pattern=_NAME)
    """Name of the tool for the model."""

    def tools(self) -> tuple[Tool, ...]:
        """The tool."""

        def call(given: Mapping[str, Any], ctx: Context) -> Output:
            return Output(_convert(float(given["value"]), given["from"], given["to"]))

        arguments = (
            Arguments().number("value", "how much").text("from", "unit, as in mile").text("to", "unit, as in km")
        )
        about = "Converts a value from one unit of measure to another."
        return (Tool(self.name, about, arguments.schema, call, untrusted=False),)


def _convert(value: float, source: str, target: str) -> str:
    """Convert a value, as in ``3.5 mile = 5.63270 kilometer``.

    Raises:
        DataError: a unit is unknown, or the two units measure different things.
    """
    with optional():
        import pint

    units = _units()
    for unit in (source, target):
        # a unit has words, powers and fractions only, so that parsing it is fast
        if len(unit) > 60 or any(char.isdigit() for char in unit.replace("**2", "").replace("**3", "")):
            raise DataError(f"not a unit: {unit[:60]!r}; write one as in km, mile, degC or meter**2")
    try:
        quantity = units.Quantity(value, source)
        converted = quantity.to(target)
    except (pint.PintError, ValueError, TypeError, AttributeError, SyntaxError) as error:
        raise DataError(f"cannot convert {source!r} to {target!r}: {str(error).splitlines()[0][:200]}") from error
    return f"{value:g} {quantity.units} = {converted.magnitude:.10g} {converted.units}"


@lru_cache(maxsize=1)
def _units() -> Any:
    with optional():
        import pint

    return pint.UnitRegistry(autoconvert_offset_to_baseunit=True)
