"""Conversion of plain YAML or JSON values to typed dataclasses and back. A wrong value gives an error of one line."""

from __future__ import annotations

import dataclasses
import datetime
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from common.errors import UserError

Kind = TypeVar("Kind")
BARE_WORDS = "YAML reads a bare yes, no, on, off as true or false: put it in quotes"


def build(kind: type[Kind], values: Any, key: str, where: str, cure: str = "") -> Kind:
    """Return the dataclass `kind` made from a mapping. Every value is checked against its field's type.

    key, where: names of the mapping and of its file in messages. cure: what to do about a missing key.
    Raises UserError for an unknown key, a missing key or a wrong type, and passes on those of the dataclass itself.
    """
    if not isinstance(values, dict):
        raise UserError(f"{where}: `{key}` must be a mapping of keys to values")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = [name for name in values if name not in fields]
    if unknown:
        raise UserError(f"{where}: unknown key `{key}.{unknown[0]}`; known keys: {', '.join(fields)}")
    missing = [name for name, field in fields.items() if name not in values and field.default is dataclasses.MISSING]
    if missing:
        raise UserError(f"{where}: missing key `{key}.{missing[0]}`" + (f"; {cure}" if cure else ""))
    typed = {name: checked(hints[name], value, f"{key}.{name}", where) for name, value in values.items()}
    try:
        return kind(**typed)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def checked(hint: Any, value: Any, key: str, where: str) -> Any:
    """Return `value` if it has the type `hint`. Otherwise raise UserError saying what to write.

    An int becomes a float where a float is wanted. A number or a date becomes text where text is wanted.
    hint: a plain type, a Literal, one of these or None, a dataclass, a tuple, a dictionary with text as keys, or Any.
    """
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise UserError(f"{where}: `{key}` is far too large a number; write one below 1e30")
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return checked(next(kind for kind in arguments if kind is not type(None)), value, key, where)
    if origin is Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[0], bool):
            raise UserError(f"{where}: `{key}` is {_show(value)}; write one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where}: `{key}` is {_show(value)}; write a list, [a, b]")
        hints = [arguments[0]] * len(value) if Ellipsis in arguments else arguments
        if len(hints) != len(value):
            raise UserError(f"{where}: `{key}` has {len(value)} values, not {len(hints)}")
        pairs = enumerate(zip(hints, value, strict=True))
        return tuple(checked(kind, item, f"{key}[{index}]", where) for index, (kind, item) in pairs)
    if origin is dict:
        if not isinstance(value, dict):
            raise UserError(f"{where}: `{key}` must be a mapping of keys to values")
        return {name: checked(arguments[1], item, f"{key}.{name}", where) for name, item in value.items()}
    if dataclasses.is_dataclass(hint):
        return build(hint, value, key, where)  # type: ignore[arg-type]
    if hint is Any:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise UserError(f"{where}: `{key}` is {value}; write a finite number")
        return float(value)
    if hint is str and isinstance(value, (int, float, datetime.date)) and not isinstance(value, bool):
        return str(value)  # a name such as 2013
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{where}: `{key}` is {_show(value)}, not {_KINDS[hint]}{_cure(hint, value)}")
    return value


_LONGEST = 200
"""Largest number of characters of a wrong value that a message shows."""
_LARGEST = 10**30
"""Largest whole number that is read. A count of FLOPs comes near it; beyond 1e308 there is no float of it."""
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _show(value: Any) -> str:
    shown = (
        f"the text '{value}'" if isinstance(value, str) else "empty (null)" if value is None else reprlib.repr(value)
    )
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def _cure(hint: Any, value: Any) -> str:
    """Return what to write instead, for two traps of YAML 1.1: `1e-9` is text, `no` is false."""
    if hint is float and isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return ""
        if not math.isfinite(number):
            return ""
        mantissa, _, exponent = str(number).partition("e")
        written = mantissa if "." in mantissa else f"{mantissa}.0"
        return f"; write {written}{'e' + exponent if exponent else ''}"
    if hint is str and isinstance(value, bool):
        return f"; {BARE_WORDS}"
    return ""


def plain(value: Any) -> Any:
    """Return the value with dataclasses as mappings and tuples as lists, at every depth, for JSON.

    `build` reads it back.
    A field that equals its default is left out. In these files a default means that the value is not known.
    """
    if dataclasses.is_dataclass(value):
        fields = ((field, getattr(value, field.name)) for field in dataclasses.fields(value))
        return {field.name: plain(item) for field, item in fields if item != field.default}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
