"""The files of an index: data, and a JSON sidecar that describes them.

Libraries that search check neither their files nor their numbers.  A sidecar holds the size and
hash of each data file, and its own fields are checked one by one, so damage is found before a
library sees anything.  Names hold hashes, and the sidecar is put in place last: a build that is
killed leaves what was there before.  ``annoy_file`` and ``excerpts.shards`` say what their data is.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

import auditor
from auditor.serialisation import atomic_write, from_json, parse_json, put_in_place, read_bytes

SidecarType = TypeVar("SidecarType", bound="Sidecar")

UNREADABLE = (OSError, ValueError, RecursionError)
"""What reading a damaged file may raise; see ``reason_of``."""


@dataclass(frozen=True)
class Sidecar:
    """What the sidecar of every index says first; each index adds its own fields.

    Attributes
    ----------
    format_version, audit_version
        Version of the layout, and of the program that wrote it.
    weights_id : str
        The extractor that made the embeddings or d-vectors.

    Raises
    ------
    ValueError
        If it is of another version of the layout.
    """

    layout: ClassVar[int]
    """The version of the layout that this program writes, and the only one it reads."""

    format_version: int
    audit_version: str
    weights_id: str

    def __post_init__(self) -> None:
        if self.format_version != self.layout:
            raise ValueError(f"format_version is {self.format_version}; {self.layout} was expected")


def pack_sidecar(sidecar: Sidecar) -> bytes:
    """Return the bytes of a sidecar; the same fields give the same bytes."""
    return json.dumps(dataclasses.asdict(sidecar)).encode()


def unpack_sidecar(kind: type[SidecarType], text: bytes) -> SidecarType:
    """Return a sidecar of untrusted bytes.

    Raises
    ------
    ValueError
        If a field is missing, unknown or wrong.
    """
    return from_json(kind, parse_json(text), where="sidecar")


def put_files(data: Sequence[tuple[Path, Path]], sidecar: Path, text: bytes) -> None:
    """Put the files of an index in place, the sidecar last.

    Parameters
    ----------
    data : sequence of (pathlib.Path, pathlib.Path)
        Each partial file of ``serialisation.partial_file``, and the name it gets.
    sidecar : pathlib.Path
    text : bytes
        Of ``pack_sidecar``.

    Raises
    ------
    OSError
        If one of them cannot be written.
    """
    for partial, path in data:
        put_in_place(partial, path)
    atomic_write(sidecar, text)


def check_data_file(
    path: Path, n_bytes: int, sha256: str, *, hash_up_to: int | None, name: str = ""
) -> None:
    """Check a data file against its sidecar.

    Parameters
    ----------
    path : pathlib.Path
    n_bytes : int
        Its size, as the sidecar says.
    sha256 : str
        Its hash, as the sidecar says.
    hash_up_to : int or None
        A larger file is not hashed; None hashes every file.
    name : str
        What the message calls the file, if it does not begin with its name.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not as the sidecar says.
    """
    size = _check_size(path, n_bytes, name)
    if hash_up_to is None or size <= hash_up_to:
        _check_hash(file_sha256(path), sha256, name)


def read_data_file(path: Path, n_bytes: int, sha256: str, *, name: str = "") -> bytes:
    """Return a data file that was checked against its sidecar, whole.

    Parameters and errors are those of ``check_data_file``.
    """
    _check_size(path, n_bytes, name)
    data = read_bytes(path, n_bytes)
    _check_hash(hashlib.sha256(data).hexdigest(), sha256, name)
    return data


def _check_size(path: Path, n_bytes: int, name: str) -> int:
    size = path.stat().st_size
    if size != n_bytes:
        raise ValueError(f"{name or 'it'} has {size:,} bytes of {n_bytes:,}")
    return size


def _check_hash(found: str, expected: str, name: str) -> None:
    if found != expected:
        hashed = f"the SHA-256 of {name}" if name else "its SHA-256"
        raise ValueError(f"{hashed} is not the one in the sidecar")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_weights_id(text: str) -> bool:
    """Return whether a text may name an extractor: up to 64 letters and digits."""
    return re.fullmatch("[0-9A-Za-z]{1,64}", text) is not None


def program_version() -> str:
    """Return the version of this program, for a sidecar."""
    return str(getattr(auditor, "__version__", "unknown"))


def reason_of(error: BaseException) -> str:
    """Return why a file cannot be used, without its name."""
    return getattr(error, "strerror", None) or str(error)
