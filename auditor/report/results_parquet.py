"""Results as Parquet, for notebooks: the rows and columns of the CSV, with their types.

pyarrow is optional (``pip install auditor[parquet]``).
"""

from __future__ import annotations

import dataclasses
import io
import types
import typing
from typing import Any

from auditor.errors import UsageError
from auditor.records import (
    GeneratedOutput,
    MatchedRange,
    MixEntry,
    Pair,
    RecommendResult,
    Repeat,
    Result,
    Track,
)
from auditor.report.results_csv import result_table

_FLOATS = frozenset({"score", "threshold", "far", "similarity", "witness_score"})
_LISTS_OF_TEXT = frozenset({"same"})


def to_parquet(result: Result) -> bytes:
    """Return a result as a Parquet file: one row per pair, or per recommended track.

    Text is as it was read, without the apostrophe that the CSV puts before formulas.  The columns
    and their types do not depend on the rows.

    Raises
    ------
    UsageError
        If pyarrow is not installed.
    ResultError
        If a pair names a track that the result does not list.
    """
    pa, pq = import_pyarrow("--format parquet")
    names, rows = result_table(result)
    columns = list(zip(*rows, strict=True)) or [()] * len(names)
    kinds = [_arrow_type(pa, column_type(name)) for name in names]
    arrays = [
        pa.array([plain_value(value) for value in column], kind)
        for column, kind in zip(columns, kinds, strict=True)
    ]
    fields = [pa.field(name, kind) for name, kind in zip(names, kinds, strict=True)]
    kind = "pair" if not isinstance(result, RecommendResult) else "track"
    about = {"audit.kind": result.kind, "audit.version": result.provenance.version, "row": kind}
    schema = pa.schema(fields, metadata=about)
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file)
    return file.getvalue()


def import_pyarrow(what: str) -> tuple[Any, Any]:
    """Return the modules ``pyarrow`` and ``pyarrow.parquet``.

    Parameters
    ----------
    what : str
        What requires them, for the message.

    Raises
    ------
    UsageError
        If they are not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UsageError(
            f"{what} requires pyarrow, which is not installed. Run: pip install 'auditor[parquet]'"
        ) from None
    return pa, pq


def column_type(name: str) -> type:
    """Return the type of a column of ``result_table``: str, bool, int, float or list.

    A column is a field of a track, with the side before it, of a pair or of its best range.

    Examples
    --------
    >>> column_type("a_duration_s"), column_type("flagged"), column_type("b_genres")
    (<class 'float'>, <class 'bool'>, list[str])
    """
    if name in _FLOATS:
        return float
    if name in _LISTS_OF_TEXT:
        return list[str]
    if name in ("n_ranges", "rank", "number"):
        return int
    if name.startswith("manifest_"):
        return str
    if name == "new":
        return bool
    bare = (
        name[2:] if name[:2] in ("a_", "b_") and not name.endswith(("_start_s", "_end_s")) else ""
    )
    for cls, known in (
        *((Track, bare), (Pair, name), (MatchedRange, name), (MixEntry, name), (Track, name)),
        *((Repeat, name), (GeneratedOutput, name)),
    ):
        hints = typing.get_type_hints(cls)
        if known in hints and known in {field.name for field in dataclasses.fields(cls)}:
            return _bare_type(hints[known])
    return float if name.startswith("share_") else str


def _bare_type(hint: Any) -> type:
    """Return the type of a field that may be None, and of the items of a tuple."""
    args = [arg for arg in typing.get_args(hint) if arg not in (types.NoneType, Ellipsis)]
    if typing.get_origin(hint) is tuple:
        return list[args[0]]  # type: ignore[valid-type]
    return args[0] if args else hint


def _arrow_type(pa: Any, kind: type) -> Any:
    plain = {str: pa.string(), bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    items = typing.get_args(kind)
    return pa.list_(plain[items[0]]) if items else plain[kind]


def plain_value(value: object) -> Any:
    """Return a value of ``result_table`` as other libraries take it: lists, and valid Unicode.

    A lone surrogate is written as the escape that JSON has for it.
    """
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, str):
        return str(value).encode("utf-8", "backslashreplace").decode()
    return value
