"""A command's options as one class: Typer reads its fields, and the command gets one typed value.

A field is annotated as a parameter of a Typer command is; a field whose type is such a class itself holds a group of
options, which several commands may share (`prediction_options.py`).
"""

from collections.abc import Callable, Iterator
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, TypeVar, get_type_hints

Options = TypeVar("Options")


def takes(options: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """A decorator: a function of one value of a class becomes a command with the fields of that class as its options.

    Args:
        options: A dataclass whose fields have defaults, or none where the command line must name them.
    """

    def decorate(command: Callable[[Options], None]) -> Callable[..., None]:
        @wraps(command)
        def called(**values: Any) -> None:
            value = _filled(options, values)
            if values:
                raise TypeError(f"{command.__name__}() has no option {', '.join(values)}")
            command(value)

        parameters = list(_parameters(options))
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        called.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
        return called

    return decorate


def _parameters(options: type) -> Iterator[Parameter]:
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        hint = hints[field.name]
        if is_dataclass(hint):
            yield from _parameters(hint)  # type: ignore[arg-type]
        else:
            default = Parameter.empty if field.default is MISSING else field.default
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)


def _filled(options: type[Options], values: dict[str, object]) -> Options:
    """The class with its values, which are taken out of `values`; what is missing has its default."""
    hints = get_type_hints(options)
    given = {}
    for field in fields(options):  # type: ignore[arg-type]
        if is_dataclass(hints[field.name]):
            given[field.name] = _filled(hints[field.name], values)  # type: ignore[arg-type]
        elif field.name in values:
            given[field.name] = values.pop(field.name)
    return options(**given)
