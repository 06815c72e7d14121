"""Conversion of command-line values without pydantic, whose import takes longer than all of Typer.

Typer converts each value, an absent one included, by a ``_runtime_param`` that it makes from pydantic on first use.
``convert_plainly`` sets it before. Types that are not in the table below stay Typer's.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import typer

_NUMBERS: Final[dict[Any, str]] = {int: "an integer", float: "a number"}
_TRUE: Final = frozenset({"1", "true", "t", "yes", "y", "on"})
_FALSE: Final = frozenset({"", "0", "false", "f", "no", "n", "off"})


class PlainConversion:
    """Conversion of the values of one parameter, called by Typer."""

    def __init__(self, convert: Callable[[Any], Any], *, several: bool) -> None:
        self._convert, self._several = convert, several

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Convert a value, or each of several. Raises BadParameter."""
        try:
            if self._several:
                return [self._convert(one) for one in value or ()]
            return None if value is None else self._convert(value)
        except ValueError as error:
            raise typer.BadParameter(str(error), ctx=ctx, param=param) from None


def convert_plainly(command: Any, ctx: Any) -> None:
    """Set the conversion of all parameters of a command and of its subcommands; `ctx` names the help option."""
    for parameter in command.get_params(ctx):
        descriptor = getattr(parameter, "type_descriptor", None)
        if descriptor is not None and parameter._runtime_param is None:
            several = get_origin(descriptor.annotation) is list
            annotation = get_args(descriptor.annotation)[0] if several else descriptor.annotation
            if convert := _conversion(annotation, descriptor.parameter_info):
                parameter._runtime_param = PlainConversion(convert, several=several)
    for subcommand in getattr(command, "commands", {}).values():
        convert_plainly(subcommand, ctx)


def _conversion(annotation: Any, limits: Any) -> Callable[[Any], Any] | None:
    if annotation in (str, Path):
        return annotation  # type: ignore[no-any-return]
    if annotation is bool:
        return _boolean
    if annotation in _NUMBERS:
        return lambda value: _number(annotation, value, limits.min, limits.max)
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return lambda value: _choice(annotation, value)
    return None


def _boolean(value: Any) -> bool:
    word = str(value).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError(f"{value!r} is neither true nor false.")
    return word in _TRUE


def _number(kind: Callable[[Any], Any], value: Any, least: float | None, most: float | None) -> Any:
    try:
        number = kind(value)
    except ValueError:
        raise ValueError(f"{value!r} is not {_NUMBERS[kind]}.") from None
    if (least is not None and number < least) or (most is not None and number > most):
        raise ValueError(f"{value} is not in the range from {least} to {most}.")
    return number


def _choice(kind: type[StrEnum], value: Any) -> StrEnum:
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{value!r} is not one of {', '.join(kind)}.") from None
