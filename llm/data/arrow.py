"""Cells of Arrow columns as a JSON file has them: JSON columns decoded, and structs without their absent fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Convert = Callable[[Any], Any]


def row_converter(schema: Any, decode: Convert | None = None) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the function that converts a row of Python objects, by the schema (pyarrow's) of its columns.

    decode  JSON text -> value, for columns of JSON as pyarrow gives them; None: they are decoded, as `datasets` does

    Arrow gives all structs of a column the same fields, so that a tool has the parameters of the others, without value:
    these fields are left out. What JSON columns hold is left as it is: its nulls were written.
    """
    converts = {field.name: convert for field in schema if (convert := _converter(field.type, decode)) is not None}

    def convert_row(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: converts[name](value) if name in converts else value for name, value in row.items()}

    return convert_row


def _converter(kind: Any, decode: Convert | None) -> Convert | None:
    """Return the function that converts a value of an Arrow type; None for types whose values stay as they are."""
    import pyarrow
    from pyarrow import types

    if isinstance(kind, getattr(pyarrow, "JsonType", ())):  # older versions have no such type
        return None if decode is None else lambda text: None if text is None else decode(text)
    if types.is_struct(kind):
        fields = {field.name: _converter(field.type, decode) for field in kind}
        return lambda value: None if value is None else _without_absent(value, fields)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _converter(kind.value_type, decode)
        if inner is not None:
            return lambda value: None if value is None else [inner(item) for item in value]
    return None


def _without_absent(value: Mapping[str, Any], fields: Mapping[str, Convert | None]) -> dict[str, Any]:
    converted = {}
    for name, item in value.items():
        convert = fields.get(name)
        if item is not None:
            converted[name] = item if convert is None else convert(item)
    return converted
