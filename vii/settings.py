"""Settings are frozen dataclasses; this fills them from files and options, refusing what they do not know."""

import dataclasses
import numbers
import types
import typing
from typing import TypeVar

from .errors import UsageError, unknown_name

Settings = TypeVar("Settings")
# More than any setting can mean, and few enough for a C int.
MAX_NUMBER = 1_000_000_000


def override(settings: Settings, /, **changes: object) -> Settings:
    """A copy with the given fields changed; fields that are None stay as they are.

    Whole numbers are taken for fields that hold a fraction; nothing else is converted. Settings with a function
    `current` accept what it turns into names and values of today. Raises UsageError for an unknown field, a value of
    another type, or one that the settings refuse.
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
    """`name=value` texts -> values of the types of the fields they name, ready for `override`; errors likewise."""
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


def _check_value(name: str, value: object, wanted: type) -> None:
    if wanted not in (int, float, str, bool):
        return
    if not isinstance(value, wanted if wanted is not float else float | int) or isinstance(value, bool) is not (
        wanted is bool
    ):
        raise UsageError(f"{name} must be of type {wanted.__name__}, got {_short(value)}")
    if wanted in (int, float) and not abs(value) <= MAX_NUMBER:  # type: ignore[arg-type]
        raise UsageError(f"{name} must be a finite number of at most {MAX_NUMBER:,}, got {_short(value)}")
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{name} holds bytes that are no text: {_short(value)}") from None


def _short(value: object) -> str:
    """A value as an error shows it."""
    if isinstance(value, int) and abs(value) > 10**40:
        return "a number of more than 40 digits"
    return repr(value)[:80]


def _checked(name: str, value: object, hint: object) -> object:
    wanted = _plain(hint)
    _check_value(name, value, wanted)
    return float(value) if wanted is float else value  # type: ignore[arg-type]


def _converted(name: str, text: str, wanted: type) -> object:
    try:
        if wanted is bool:
            return {"true": True, "false": False}[text.lower()]
        return wanted(text)
    except (ValueError, KeyError, OverflowError):
        raise UsageError(f"{name} must be of type {wanted.__name__}, got '{text[:80]}'") from None


def setting(
    default: typing.Any, *, label: str = "", least: float = -MAX_NUMBER, most: float = MAX_NUMBER
) -> typing.Any:
    """A field of a settings dataclass that says more than its type: which numbers it takes (see `check`), and a label.

    The label is what other tools call it in the line `parameters` of a picture.
    """
    return dataclasses.field(default=default, metadata={"label": label, "least": least, "most": most})


def check(settings: typing.Any) -> None:
    """Raise UsageError for numbers that are not finite or beyond the limits of their fields; for `__post_init__`."""
    types_of = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value, wanted = getattr(settings, field.name), _plain(types_of[field.name])
        if value is None and wanted is not types_of[field.name]:
            continue
        _check_value(field.name, value, wanted)
        least, most = field.metadata.get("least", -MAX_NUMBER), field.metadata.get("most", MAX_NUMBER)
        if isinstance(value, int | float) and not least <= value <= most:
            raise UsageError(f"{field.name} must be from {least:.10g} to {most:.10g}, got {value}")


def parse_box(text: str, name: str) -> tuple[int, int, int, int]:
    """A box X,Y,W,H as an option says it; raises UsageError, which calls it `name`, for anything else."""
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.strip().isdecimal() for number in numbers):
        raise UsageError(f"{name} {text[:80]}: expected X,Y,W,H, four whole numbers of pixels")
    x, y, w, h = map(int, numbers)
    return x, y, w, h


def check_seed(seed: object) -> int:
    """The seed, where it is a whole number in [0, 2**63), which every generator takes; else UsageError."""
    whole = int(seed) if isinstance(seed, numbers.Integral) and not isinstance(seed, bool) else -1
    if not 0 <= whole < 2**63:
        raise UsageError(f"the seed must be a whole number from 0 to 2**63 - 1, got {_short(seed)}")
    return whole


def labels(settings: object) -> dict[str, str]:
    """Field name -> label, of the fields that have one."""
    fields = dataclasses.fields(settings)  # type: ignore[arg-type]
    return {field.name: field.metadata["label"] for field in fields if field.metadata.get("label")}
