"""Data that leaves the process: dataclasses as JSON, and files that appear whole or not at all.

Frozen dataclasses travel as JSON inside weights, threshold files and results.  JSON comes from
strangers, so ``from_json`` accepts exactly the fields of the dataclass, of exactly their types,
within their stated ranges; anything else is a ``ValueError`` that names the field.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import os
import secrets
import shutil
import stat
import sys
import tempfile
import time
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

if sys.platform != "win32":
    import fcntl

T = TypeVar("T")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ValueError, which names the field, unless a value lies in [low, high]."""
    if not (low <= value <= high):
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


def to_json(config: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types."""
    return dataclasses.asdict(config)


MAX_JSON_BYTES = 2 << 30
"""Memory that the values of a JSON text may take."""

_FREE_BYTES, _TIMES_ITS_SIZE = 64 << 20, 12
_OBJECT_BYTES, _LIST_BYTES, _VALUE_BYTES = 184, 64, 64
"""What CPython takes for an object, a list, and another value of either."""


def parse_json(text: str | bytes) -> Any:
    """Return what a JSON text of a stranger says, as ``json.loads`` does, in bounded memory.

    A text of nothing but ``{}`` takes thirty times its size.  The memory of the values is estimated
    from the signs of the text before they are made: 64 MB and twelve times the size of the text are
    allowed, and ``MAX_JSON_BYTES`` at most.  What audit writes takes two to eight times its size.

    Raises
    ------
    ValueError
        If it is not JSON, is nested too deeply, or would take more memory.
    """
    objects, lists, values = (b"{", b"[", b",") if isinstance(text, bytes) else ("{", "[", ",")
    expected = (
        text.count(objects) * _OBJECT_BYTES  # type: ignore[arg-type]
        + text.count(lists) * _LIST_BYTES  # type: ignore[arg-type]
        + text.count(values) * _VALUE_BYTES  # type: ignore[arg-type]
    )
    if expected > min(MAX_JSON_BYTES, _FREE_BYTES + _TIMES_ITS_SIZE * len(text)):
        raise ValueError(
            f"its {len(text):,} characters hold values that take some {expected / 1e6:,.0f} MB"
        )
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def tensors_metadata(data: bytes) -> dict[str, str]:
    """Return the metadata of a safetensors file that the library has read before.

    Raises
    ------
    ValueError
        If there is none that can be read.
    """
    header = parse_json(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__") or {}


def write_weights(directory: Path, name: str, data: bytes) -> Path:
    """Write ``name-<8 hex digits of the SHA-256>.safetensors`` and return its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name}-{hashlib.sha256(data).hexdigest()[:8]}.safetensors"
    atomic_write(path, data)
    return path


def with_sorted_header(data: bytes) -> bytes:
    """Return a safetensors file with its header in order: the same bytes for the same content.

    The library writes its metadata in an order that differs from run to run.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]


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
    hints = _hints(cls)  # type: ignore[arg-type]
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


@functools.cache  # strings are evaluated, for each of thousands of parts of a file
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


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


def read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Return the content of a file that a stranger may have written.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it has more than ``max_bytes``.
    """
    with open(path, "rb") as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ValueError(f"it has more than {max_bytes:,} bytes")
    return data


PARTIAL_SUFFIX = ".audit-part"
"""Of files that are being written; what a killed process leaves behind has it, too."""

HELD_SUFFIX = ".held" + PARTIAL_SUFFIX
"""Of those whose writer holds a lock on them for as long as it writes."""

TEMPORARY_PREFIX = "audit-run-"
"""Of folders below the system's temporary folder."""

_LOCK_NAME = ".lock"

STALE_S = 3600.0
"""Where no lock tells: what nobody has written to for so long was left by a killed process."""


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed; False if another process has it, None if none can."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _create_locked(path: Path) -> int | None:
    """Create a file and lock it; None if another process took it for a leftover meanwhile."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, 0o666)
    if _lock(descriptor) is not False:
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), os.fstat(descriptor)):
                return descriptor
    os.close(descriptor)
    return None


def _is_dead(path: str) -> bool:
    """Say whether the process that locked a file is gone; nothing is followed or waited for."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        there = os.fstat(descriptor)
        is_ours = stat.S_ISREG(there.st_mode) and there.st_uid == os.geteuid()
        return is_ours and _lock(descriptor) is True
    finally:
        os.close(descriptor)


@functools.lru_cache(maxsize=256)
def _remove_stale(folder: str) -> None:
    """Remove what killed processes left in a folder; once a process, for a folder may be large."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith(PARTIAL_SUFFIX):
                with contextlib.suppress(OSError):
                    age_s = time.time() - entry.stat(follow_symlinks=False).st_mtime
                    held = entry.name.endswith(HELD_SUFFIX)
                    if age_s > STALE_S or (held and _is_dead(entry.path)):
                        os.unlink(entry.path)


@contextlib.contextmanager
def partial_file(folder: str | os.PathLike[str], *, replaced: bool = False) -> Iterator[Path]:
    """Give the path of a new, empty file to write to, for ``put_in_place``.

    Its name is random, no link is followed, and no file of anybody's is overwritten.  It is removed
    at the end unless it was put in place; what a killed process left there goes first.

    Parameters
    ----------
    folder : path
        Where the finished file will lie.
    replaced : bool
        Whoever writes puts a new file in its place, on which no lock is held.  A leftover is then
        removed when it is an hour old.

    Raises
    ------
    OSError
        If it cannot be made.
    """
    _remove_stale(os.fspath(folder))
    descriptor = None
    while descriptor is None:
        suffix = PARTIAL_SUFFIX if replaced else HELD_SUFFIX
        path = Path(folder, f".{secrets.token_hex(8)}{suffix}")
        descriptor = _create_locked(path)
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        os.close(descriptor)


class TemporaryFolder(tempfile.TemporaryDirectory[str]):
    """A folder below the system's temporary folder, which nobody else can read.

    ``name`` is its path.  It is removed at the end of a ``with``, by ``cleanup``, or when the
    process ends; one whose process was killed is removed by ``remove_leftovers``.

    Raises
    ------
    OSError
        If it cannot be made.
    """

    def __init__(self) -> None:
        remove_leftovers()
        self._descriptor: int | None = None
        while self._descriptor is None:
            super().__init__(prefix=TEMPORARY_PREFIX, ignore_cleanup_errors=True)
            with contextlib.suppress(FileNotFoundError):
                self._descriptor = _create_locked(Path(self.name, _LOCK_NAME))

    def cleanup(self) -> None:
        """Remove the folder and what is in it."""
        super().cleanup()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remove_leftovers() -> None:
    """Remove the temporary folders of this user whose processes were killed; once a process."""
    _remove_folders(tempfile.gettempdir())


@functools.lru_cache(maxsize=16)
def _remove_folders(parent: str) -> None:
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if not entry.name.startswith(TEMPORARY_PREFIX):
                continue
            with contextlib.suppress(OSError):
                there = entry.stat(follow_symlinks=False)
                private = stat.S_ISDIR(there.st_mode) and not there.st_mode & 0o077
                if not private or there.st_uid != os.geteuid():
                    continue
                if _is_dead(os.path.join(entry.path, _LOCK_NAME)):
                    shutil.rmtree(entry.path)
                elif time.time() - there.st_mtime > STALE_S:
                    os.rmdir(entry.path)  # killed before it had a lock: there is nothing in it


def put_in_place(partial: Path, path: str | os.PathLike[str]) -> None:
    """Give a finished file its name, in one step that outlives a power cut.

    Parameters
    ----------
    partial : pathlib.Path
        From ``partial_file``, in the folder of ``path``.
    path : path
        What is there already is replaced.

    Raises
    ------
    OSError
        If the file cannot be written to the disk or renamed.
    """
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)
    folder = os.open(os.path.dirname(os.path.abspath(os.fspath(path))), os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some file systems cannot sync a folder
            os.fsync(folder)
    finally:
        os.close(folder)


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file whole or not at all; one that was there stays when writing fails.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with partial_file(os.path.dirname(os.path.abspath(os.fspath(path)))) as partial:
        partial.write_bytes(data)
        put_in_place(partial, path)
