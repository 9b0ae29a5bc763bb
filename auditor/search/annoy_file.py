"""The files of the index of tracks: what Annoy built, and its sidecar (``index_file``).

The Annoy file's name holds its hash; replacing the sidecar is therefore the one step that puts a
new index in place.
"""

from __future__ import annotations

import contextlib
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from auditor.errors import IndexFileError, show_path
from auditor.search.annoy_forest import make_forest
from auditor.search.annoy_nodes import check_nodes
from auditor.search.index_file import (
    UNREADABLE,
    Sidecar,
    check_data_file,
    file_sha256,
    is_weights_id,
    pack_sidecar,
    program_version,
    put_files,
    reason_of,
    unpack_sidecar,
)
from auditor.search.vectors import check_unit_rows
from auditor.serialisation import TemporaryFolder, partial_file, read_bytes

FORMAT_VERSION = 1
"""Version of the sidecar."""

METRIC: Final = "angular"
"""Annoy's name for the distance sqrt(2 * (1 - cosine))."""

VERIFY_BYTES = 200_000_000
"""Annoy files above this size are hashed on reading only when asked."""

MAX_SIDECAR_BYTES = 1 << 30
"""Of a sidecar; each track takes some twenty."""

REMEDY = "Delete it and run the command again: the index is rebuilt from the catalogue"
"""How the message of every damaged or mixed index ends."""


class MixedIndexError(IndexFileError):
    """An index that is sound but not of these embeddings; it is never overwritten."""


@dataclass(frozen=True)
class AnnoySidecar(Sidecar):
    """What the JSON file beside the Annoy file says of it.

    Attributes
    ----------
    format_version, audit_version, weights_id
        See ``Sidecar``.
    metric, n_dims, n_items, n_trees, seed
        How the Annoy file was built.
    ann_size, ann_sha256
        Its bytes and their hash.
    checksums : str
        CRC-32 of each row's float32 bytes, 8 hex digits a row.
    ids : tuple of str
        Track id of each row.
    """

    layout: ClassVar[int] = FORMAT_VERSION

    metric: str
    n_dims: int
    n_items: int
    n_trees: int
    seed: int
    ann_size: int
    ann_sha256: str
    checksums: str
    ids: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric != METRIC:
            raise ValueError(f"metric is {self.metric!r}; {METRIC!r} was expected")
        for name in ("n_dims", "n_items", "n_trees", "seed", "ann_size"):
            low, value = int(name in ("n_dims", "n_trees")), getattr(self, name)
            if not low <= value < 2**40:
                raise ValueError(f"{name} is {value}; it must lie between {low} and 2**40")
        for name, pattern in (("ann_sha256", "[0-9a-f]{64}"), ("checksums", "([0-9a-f]{8})*")):
            if not re.fullmatch(pattern, getattr(self, name)):
                raise ValueError(f"{name} is {getattr(self, name)!r:.20}; hex digits were expected")
        if not self.n_items == len(self.ids) == len(set(self.ids)) == len(self.checksums) // 8:
            raise ValueError(
                f"n_items is {self.n_items}, with {len(set(self.ids))} distinct ids of "
                f"{len(self.ids)} and {len(self.checksums) // 8} checksums; all must be equal"
            )

    @property
    def ann_name(self) -> str:
        """Name of the Annoy file."""
        return f"{self.weights_id}-{self.ann_sha256[:8]}.ann"


def write_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    n_trees: int,
    seed: int,
) -> tuple[AnnoySidecar, Any]:
    """Build the files and put them in place of those before; the same input gives the same bytes.

    Parameters
    ----------
    directory : path
        Made when it is missing; receives ``<weights_id>.json`` and ``<weights_id>-<hash8>.ann``.
    weights_id : str
        Letters and digits that name the extractor.
    ids : sequence of str
        One distinct id for each row.
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    n_trees, seed : int
        Annoy's: more trees are larger and miss less.

    Returns
    -------
    sidecar : AnnoySidecar
        What was written.
    base : annoy.AnnoyIndex or annoy_forest.Forest
        The Annoy file, memory-mapped.

    Raises
    ------
    IndexFileError
        If Annoy cannot be given the path of the directory.
    ValueError
        If the ids, embeddings or numbers are not as described.
    """
    check_tracks(weights_id, ids, embeddings)
    if not (1 <= n_trees <= 10_000 and 0 <= seed < 2**31):
        raise ValueError(f"n_trees is {n_trees} and seed {seed}; 1 to 10,000 and 0 to 2**31 - 1")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    base = make_forest(embeddings.shape[1])
    base.set_seed(seed)
    for row, vector in enumerate(embeddings):
        base.add_item(row, vector.tolist())
    base.build(n_trees, n_jobs=1)  # with more, the trees depend on how the threads are scheduled
    with partial_file(folder, replaced=True) as partial:  # Annoy's is a new file
        with utf8_name(folder) as name:
            base.save(str(name / partial.name))
        sidecar = AnnoySidecar(
            format_version=FORMAT_VERSION,
            audit_version=program_version(),
            weights_id=weights_id,
            metric=METRIC,
            n_dims=embeddings.shape[1],
            n_items=len(ids),
            n_trees=n_trees,
            seed=seed,
            ann_size=partial.stat().st_size,
            ann_sha256=file_sha256(partial),
            checksums=checksums(np.ascontiguousarray(embeddings)),
            ids=tuple(ids),
        )
        base.unload()  # it maps the partial file, which some systems cannot rename then
        data = [(partial, folder / sidecar.ann_name)]
        put_files(data, folder / f"{weights_id}.json", pack_sidecar(sidecar))
    _load(base, folder / sidecar.ann_name)
    for stale in folder.glob(f"{weights_id}-*.ann"):
        if stale.name != sidecar.ann_name:
            stale.unlink(missing_ok=True)
    return sidecar, base


def read_index(
    directory: str | os.PathLike[str], weights_id: str, n_dims: int, *, verify: bool = False
) -> tuple[AnnoySidecar, Any]:
    """Read the sidecar and map the Annoy file, both checked.

    Parameters
    ----------
    directory, weights_id
        As for ``write_index``.
    n_dims : int
        Dimensions that the index must have.
    verify : bool
        Hash the Annoy file even when it is larger than ``VERIFY_BYTES``.

    Returns
    -------
    sidecar : AnnoySidecar
    base : annoy.AnnoyIndex or annoy_forest.Forest

    Raises
    ------
    FileNotFoundError
        If there is no sidecar, hence no index.
    MixedIndexError
        If the files are of other weights or another dimension.
    IndexFileError
        If the files are damaged, or Annoy cannot be given the path of the directory.
    """
    folder = Path(directory)
    sidecar = _read_sidecar(folder / f"{weights_id}.json")
    _check_origin(folder, sidecar, weights_id, n_dims)
    return sidecar, _load_base(folder, sidecar, verify)


def checksums(embeddings: np.ndarray) -> str:
    """Return the CRC-32 of each row of (n, n_dims) float32, contiguous: 8 hex digits a row."""
    return "".join(f"{zlib.crc32(row):08x}" for row in embeddings)


def check_tracks(weights_id: str, ids: Sequence[str], embeddings: np.ndarray) -> None:
    """Check that ids and embeddings can be indexed.

    Raises
    ------
    ValueError
        If they are not as ``write_index`` says.
    """
    if not is_weights_id(weights_id):
        raise ValueError(f"weights_id is {weights_id!r:.80}; letters and digits were expected")
    check_unit_rows("embeddings", embeddings)
    if embeddings.shape[1] < 1:
        raise ValueError(f"embeddings is {embeddings.shape}; at least one dimension is needed")
    if not len(set(ids)) == len(ids) == len(embeddings):
        raise ValueError(
            f"{len(ids)} ids ({len(set(ids))} distinct) for {len(embeddings)} embeddings; "
            "each row needs one id of its own"
        )


def _read_sidecar(path: Path) -> AnnoySidecar:
    try:
        return unpack_sidecar(AnnoySidecar, read_bytes(path, MAX_SIDECAR_BYTES))
    except FileNotFoundError:
        raise
    except UNREADABLE as error:
        raise IndexFileError(
            f"{show_path(path)} is damaged: {reason_of(error)}. {REMEDY}"
        ) from None


def _check_origin(folder: Path, sidecar: AnnoySidecar, weights_id: str, n_dims: int) -> None:
    path = show_path(folder / f"{weights_id}.json")
    if sidecar.weights_id != weights_id:
        raise MixedIndexError(
            f"{path} was built with weights {sidecar.weights_id} but the catalogue's embeddings "
            f"are of weights {weights_id}. {REMEDY}"
        )
    if sidecar.n_dims != n_dims:
        raise MixedIndexError(
            f"{path} has {sidecar.n_dims} dimensions but the catalogue's embeddings have {n_dims}. "
            f"{REMEDY}"
        )


def _load_base(folder: Path, sidecar: AnnoySidecar, verify: bool) -> Any:
    path = folder / sidecar.ann_name
    base = make_forest(sidecar.n_dims)
    try:
        hash_up_to = None if verify else VERIFY_BYTES
        check_data_file(path, sidecar.ann_size, sidecar.ann_sha256, hash_up_to=hash_up_to)
        check_nodes(path, sidecar.n_dims, sidecar.n_trees)
        _load(base, path)
        if base.get_n_items() != sidecar.n_items:
            raise ValueError(f"it has {base.get_n_items():,} items of {sidecar.n_items:,}")
    except UNREADABLE as error:
        raise IndexFileError(
            f"{show_path(path)} is damaged: {reason_of(error)}. {REMEDY}"
        ) from None
    return base


def _load(base: Any, path: Path) -> None:
    with utf8_name(path.parent) as folder:
        base.load(str(folder / path.name))


@contextlib.contextmanager
def utf8_name(folder: Path) -> Iterator[Path]:
    """Give a name of the folder in UTF-8, all that Annoy takes: a passing link where need be."""
    if _is_utf8(folder):
        yield folder
        return
    with contextlib.ExitStack() as stack:
        try:
            link = Path(stack.enter_context(TemporaryFolder()), "index")
            link.symlink_to(folder.absolute(), target_is_directory=True)
            if not _is_utf8(link):
                raise OSError("its own path is not UTF-8")
        except OSError as error:
            reason = error.strerror or str(error)
            raise IndexFileError(
                f"{show_path(folder)} is not UTF-8, which Annoy needs, and the temporary folder "
                f"cannot hold a link to it: {reason}. Rename it, or set TMPDIR to another folder"
            ) from None
        yield link


def _is_utf8(path: Path) -> bool:
    return os.fsencode(path) == str(path).encode("utf-8", "replace")
