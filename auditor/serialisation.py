"""Frozen dataclasses that travel as JSON inside weights, threshold files and results.

JSON comes from strangers, so ``from_json`` accepts exactly the fields of the dataclass, of exactly
their types, within their stated ranges; anything else is a ``ValueError`` that names the field.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

T = TypeVar("T")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError, which names the field, unless a value lies in [low, high]."""
    if not (low <= value <= high):
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


def to_json(config: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_json(cls: type[T], data: object, *, where: str = "config") -> T:
    """Build a dataclass from untrusted JSON.

    Parameters
    ----------
    cls : type
        A dataclass whose fields are int, float, bool, str, None, tuples, dicts or dataclasses.
    data : object
        What ``json.loads`` returned.
    where : str
        Name of the thing in error messages.

    Raises
    ------
    ValueError
        If a field is unknown, missing, of another type or out of range.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} is a {type(data).__name__}; an object was expected")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(fields), key=str):
        raise ValueError(f"{where} has the unknown field {unknown[0]!r:.60}")
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}.{name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where} lacks the field {name!r}")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where=where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, (list, tuple)):
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(args) == len(value):
            pairs = zip(args, value, strict=True)
            return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs))
    elif origin is dict and isinstance(value, dict):
        return {str(k): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        raise ValueError(f"{where} is {number}; a finite number was expected")
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{where} is {value!r:.60}; {getattr(hint, '__name__', hint)} was expected")
