"""Settings are frozen dataclasses; this fills them from files and options, refusing what they do not know."""

import dataclasses
import types
import typing
from typing import TypeVar

from .errors import UsageError, unknown_name

Settings = TypeVar("Settings")


def override(settings: Settings, /, **changes: object) -> Settings:
    """A copy with the given fields changed; fields that are None stay as they are.

    Whole numbers are taken for fields that hold a fraction; nothing else is converted. Settings with a function
    `current` accept what it turns into names and values of today.

    Raises:
        UsageError: a field that these settings do not have, a value of another type, or one they refuse.
    """
    types_of = typing.get_type_hints(type(settings))
    accepted: dict[str, object] = {}
    for name, value in _current(settings, changes).items():
        if value is None:
            continue
        if name not in types_of:
            raise UsageError(unknown_name("setting", name, types_of))
        accepted[name] = _checked(name, value, types_of[name])
    return dataclasses.replace(settings, **accepted)  # type: ignore[type-var]


def parse(settings: object, assignments: typing.Iterable[str]) -> dict[str, object]:
    """`name=value` texts -> values of the types of the fields they name, ready for `override`.

    Raises:
        UsageError: a text without `=`, an unknown name, or a value that is not of the field's type.
    """
    types_of = assignable(settings)
    parsed: dict[str, object] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise UsageError(f"expected NAME=VALUE, got '{assignment}'")
        (today,) = list(_current(settings, {name: text}))[:1]
        if today not in types_of:
            raise UsageError(unknown_name("setting", name, types_of))
        parsed[today] = _converted(name, text, _plain(types_of[today]))
    return parsed


def assignable(settings: object) -> dict[str, object]:
    """Fields that a user may set, and their types; those marked `assignable=False` are the program's own to say."""
    types_of = typing.get_type_hints(type(settings))
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    return {field.name: types_of[field.name] for field in fields if field.metadata.get("assignable", True)}


def _current(settings: object, given: typing.Mapping[str, object]) -> typing.Mapping[str, object]:
    current = getattr(settings, "current", None)
    return current(given) if current else given


def _plain(hint: object) -> type:
    """`float | None` -> float: None means "not given" and is never a value."""
    if isinstance(hint, types.UnionType):
        hint = next(option for option in hint.__args__ if option is not type(None))
    return typing.cast(type, hint)


def _checked(name: str, value: object, hint: object) -> object:
    wanted = _plain(hint)
    if wanted is float and type(value) is int:
        return float(value)
    if type(value) is not wanted:
        raise UsageError(f"{name} must be of type {wanted.__name__}, got {value!r}")
    return value


def _converted(name: str, text: str, wanted: type) -> object:
    try:
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        return wanted(text)
    except (ValueError, KeyError):
        raise UsageError(f"{name} must be of type {wanted.__name__}, got '{text}'") from None
