"""Rows of a catalogue: tracks and vectors to SQLite values, and back with every value checked.

Vectors are little-endian blobs.  A catalogue may come from a stranger, so what is read back is
never trusted: types, sizes and norms are checked, and the error names the track.
"""

from __future__ import annotations

import functools
import json
import math
import typing
from dataclasses import astuple, fields
from typing import Any

import numpy as np

from auditor.errors import DamagedTrackError
from auditor.records import Track, TrackEmbedding
from auditor.serialisation import parse_json

FIELDS = tuple(f.name for f in fields(Track))
"""Columns of a track, in the order of ``records.Track``."""

_ABSENT = {"identifiers": ("'[]'", 8), "record_label": ("''", 8), "c2pa": ("'[]'", 10)} | {
    "parts_s": ("'[]'", 6),
    "downmix": ("''", 6),
}
"""What SELECT says in place of a column, and the schema version from which on it is there."""


def field_columns(version: int) -> tuple[str, ...]:
    """Return ``FIELDS`` as a SELECT names them in a catalogue of some schema version.

    Examples
    --------
    >>> field_columns(7)[-4:]
    ('downmix', "'[]'", "''", "'[]'")
    """
    absent = {name: literal for name, (literal, since) in _ABSENT.items() if version < since}
    return tuple(absent.get(name, name) for name in FIELDS)


NORM_TOLERANCE = 1e-3
"""How far the norm of a stored vector may be from 1; float16 rounds by less than 5e-4."""

_ROWS = 4096
"""Vectors whose norms are taken at a time: a track of many hours is not copied as float64."""

_TYPES: dict[Any, set[type]] = {
    str: {str},
    int: {int},
    bool: {int},
    float: {float},
    tuple[str, ...]: {str},
    tuple[float, ...]: {str},
    int | None: {int, type(None)},
    float | None: {float, type(None)},
}
_FIELD_TYPES = tuple(_TYPES[hint] for hint in typing.get_type_hints(Track).values())
_LISTS = {"genres": (str,), "identifiers": (str,), "c2pa": (str,), "parts_s": (int, float)}
_FLAGS = ("truncated", "silent", "missing")


def track_row(track: Track) -> tuple[Any, ...]:
    """Return a track as SQLite values, in the order of ``FIELDS``.

    Raises
    ------
    ValueError
        If a duration is not a finite number.
    """
    for duration_s in (track.duration_s, track.declared_s):
        if duration_s is not None and not math.isfinite(duration_s):
            raise ValueError(f"track {track.id}: its duration is {duration_s}")
    row = (json.dumps(v) if isinstance(v, tuple) else v for v in astuple(track))
    return tuple(valid_unicode(v) if isinstance(v, str) else v for v in row)


def track_from_row(row: tuple[Any, ...]) -> Track:
    """Build a track of a row whose columns are ``FIELDS``.

    Raises
    ------
    DamagedTrackError
        If a value has another type than its field, or is damaged.
    """
    damaged = _wrong_type(tuple(map(type, row)))
    values = dict(zip(FIELDS, row, strict=True))
    if not damaged:
        try:
            parsed = {name: parse_json(values[name]) for name in _LISTS}
        except (ValueError, RecursionError):
            parsed = dict.fromkeys(_LISTS)
        for name, allowed in _LISTS.items():
            found = parsed[name]
            if not isinstance(found, list) or not all(type(value) in allowed for value in found):
                damaged = damaged or name
        if not math.isfinite(values["duration_s"]):
            damaged = "duration_s"
    if damaged:
        raise DamagedTrackError(
            f"track {row[0]}: the catalogue holds {values[damaged]!r:.40} as its {damaged}. "
            f"{remedy(row[0])}",
            str(row[0]),
        )
    for name in _LISTS:
        values[name] = tuple(parsed[name])
    values["parts_s"] = tuple(map(float, values["parts_s"]))
    for name in _FLAGS:
        values[name] = bool(values[name])
    return Track(**values)


@functools.lru_cache(maxsize=256)
def _wrong_type(types: tuple[type, ...]) -> str | None:
    for name, kind, allowed in zip(FIELDS, types, _FIELD_TYPES, strict=True):
        if kind not in allowed:
            return name
    return None


def valid_unicode(text: str) -> str:
    """Return text that SQLite can store: lone surrogates become question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")


def pack(track: Track, embedding: TrackEmbedding) -> tuple[int, int, bytes, bytes, bytes]:
    """Return n_windows, n_dims and the blobs of embedding, d-vectors and levels.

    Raises
    ------
    ValueError
        If the arrays do not fit together, hold NaN or are not of unit norm.  A silent track may
        have an embedding, and a silent window a d-vector, of zeros.
    """
    vector = np.asarray(embedding.embedding, dtype="<f4")
    dvectors = np.asarray(embedding.dvectors, dtype="<f2")
    levels = np.asarray(embedding.levels, dtype="<f2")
    if vector.ndim != 1 or dvectors.ndim != 2 or levels.ndim != 1:
        raise ValueError(
            f"track {track.id}: embedding, dvectors and levels have {vector.ndim}, "
            f"{dvectors.ndim} and {levels.ndim} axes; 1, 2 and 1 are needed"
        )
    if not len(vector) or dvectors.shape != (len(levels), len(vector)):
        raise ValueError(
            f"track {track.id}: embedding {vector.shape}, dvectors {dvectors.shape} and levels "
            f"{levels.shape} do not fit together"
        )
    if not are_unit(vector, zero_too=track.silent):
        raise ValueError(f"track {track.id}: the embedding is not a unit vector")
    if not are_unit(dvectors, zero_too=True) or np.isnan(levels).any():
        raise ValueError(f"track {track.id}: dvectors are not unit vectors, or levels hold NaN")
    return len(levels), len(vector), vector.tobytes(), dvectors.tobytes(), levels.tobytes()


def are_unit(vectors: np.ndarray, *, zero_too: bool) -> bool:
    """Say whether every vector along the last axis has unit norm; NaN never has."""
    rows = vectors.reshape(-1, vectors.shape[-1])
    for start in range(0, len(rows), _ROWS):
        norms = np.linalg.norm(rows[start : start + _ROWS].astype(np.float64), axis=-1)
        good = np.abs(norms - 1.0) <= NORM_TOLERANCE
        if not np.all(good | (norms == 0.0) if zero_too else good):
            return False
    return True


def unpack(
    blob: object, dtype: str, shape: tuple[object, ...], track_id: object, what: str
) -> np.ndarray:
    """Return a blob as a read-only array.

    Raises
    ------
    DamagedTrackError
        If the blob has another size than ``shape`` asks for, or is none; names the track.
    """
    if type(track_id) is not str or not all(type(n) is int and n >= 0 for n in shape):
        raise DamagedTrackError(
            f"track {track_id}: its {what} has no size. {remedy(track_id)}", str(track_id)
        )
    n_bytes = math.prod(shape) * np.dtype(dtype).itemsize  # type: ignore[arg-type]
    if type(blob) is not bytes or len(blob) != n_bytes:
        found = f"{len(blob)} bytes" if type(blob) is bytes else f"a {type(blob).__name__}"
        raise DamagedTrackError(
            f"track {track_id}: its {what} has {found}; {n_bytes} bytes were expected. "
            f"{remedy(track_id)}",
            str(track_id),
        )
    return np.frombuffer(blob, dtype=dtype).reshape(shape)  # type: ignore[arg-type]


def unpack_dvectors(row: tuple[Any, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return d-vectors (n_windows, n_dims) and levels (n_windows,), both float16 and read-only.

    The row holds n_windows, n_dims, embedding, dvectors, levels, track_id and weights_id.

    Raises
    ------
    DamagedTrackError
        If a blob has another size than n_windows and n_dims ask for.
    """
    n_windows, n_dims, _, dvectors, levels, track_id, _ = row
    return (
        unpack(dvectors, "<f2", (n_windows, n_dims), track_id, "d-vectors"),
        unpack(levels, "<f2", (n_windows,), track_id, "levels"),
    )


def remedy(track_id: object) -> str:
    """Return what to type when what is stored of a track is damaged."""
    return f"Run: audit catalogue remove {track_id}, then audit scan DIR"
