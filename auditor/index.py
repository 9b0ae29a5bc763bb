"""Approximate nearest tracks: an Annoy file with a JSON sidecar, and an exact overlay.

Annoy (Bernhardsson, 2013, https://github.com/spotify/annoy) cuts space by random hyperplanes into
trees.  Its file cannot be added to, so tracks that came or changed after it was built form an
overlay that is searched exactly, and tracks that left are filtered out; ``refresh_index`` builds
anew once these grow.  Annoy only proposes rows: every score returned is computed again from the
embeddings, by the same sum as ``pairs.exact_scores``.

Annoy checks neither its file nor its numbers, so the sidecar, which carries the size and hash of
the Annoy file, is checked field by field before Annoy sees anything.  The file's name holds its
hash; replacing the sidecar is therefore the one step that puts a new index in place, and a build
that is killed leaves the old one valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import annoy
import numpy as np

import auditor
from auditor.config import from_json
from auditor.errors import IndexFileError, show_path

FORMAT_VERSION = 1
"""Version of the sidecar."""

METRIC = "angular"
"""Annoy's name for the distance sqrt(2 * (1 - cosine))."""

VERIFY_BYTES = 200_000_000
"""Annoy files above this size are hashed on opening only when asked."""

MIN_SEARCH_K = 5000
"""Nodes that Annoy looks at unless told otherwise; its own default, top * n_trees, misses more."""

_N_SAMPLE = 1000
_REBUILD = "Delete it and run the command again: the index is rebuilt from the catalogue"


class _MixedIndexError(IndexFileError):
    """An index that is sound but not of these embeddings; it is never overwritten."""


@dataclass(frozen=True)
class Sidecar:
    """What the JSON file beside the Annoy file says of it.

    Attributes
    ----------
    format_version, audit_version
        Version of this layout, and of the program that wrote it.
    weights_id : str
        The extractor that made the embeddings.
    metric, n_dims, n_items, n_trees, seed
        How the Annoy file was built.
    ann_size, ann_sha256
        Its bytes and their hash.
    checksums : str
        CRC-32 of each row's float32 bytes, 8 hex digits a row.
    ids : tuple of str
        Track id of each row.
    """

    format_version: int
    audit_version: str
    weights_id: str
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
        for name, expected in (("format_version", FORMAT_VERSION), ("metric", METRIC)):
            if getattr(self, name) != expected:
                raise ValueError(f"{name} is {getattr(self, name)!r}; {expected!r} was expected")
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


class TrackIndex:
    """The tracks of a catalogue, searched through Annoy and the overlay; made by ``open_index``.

    Attributes
    ----------
    ids : tuple of str
        Track ids; every row this class takes or returns counts into them.
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    sidecar : Sidecar
        Of the base.
    n_overlay : int
        Tracks that the base lacks or holds with another embedding.
    n_tombstones : int
        Rows of the base that are no longer current.
    """

    def __init__(
        self,
        sidecar: Sidecar,
        base: annoy.AnnoyIndex,
        ids: Sequence[str],
        embeddings: np.ndarray,
    ) -> None:
        self.sidecar = sidecar
        self.ids = tuple(ids)
        self.embeddings = np.ascontiguousarray(embeddings)
        self._base = base
        position = {track_id: row for row, track_id in enumerate(self.ids)}
        base_rows = np.array([position.get(i, -1) for i in sidecar.ids], np.int64)
        then = np.frombuffer(bytes.fromhex(sidecar.checksums), ">u4")
        now = np.frombuffer(bytes.fromhex(_checksums(self.embeddings)), ">u4")
        current = base_rows >= 0
        current[current] = then[current] == now[base_rows[current]]
        self._base_rows = np.where(current, base_rows, -1)
        self._overlay_rows = np.setdiff1d(np.arange(len(self.ids)), base_rows[current])
        self._overlay = self.embeddings[self._overlay_rows]
        self.n_overlay = len(self._overlay_rows)
        self.n_tombstones = int(np.count_nonzero(~current))

    def __len__(self) -> int:
        return len(self.ids)

    def query(
        self,
        vectors: np.ndarray,
        top: int,
        *,
        exclude: Collection[int] | None = None,
        search_k: int = -1,
    ) -> list[list[tuple[int, float]]]:
        """Return the nearest tracks of each vector that Annoy and the overlay propose.

        Parameters
        ----------
        vectors : numpy.ndarray
            (n_vectors, n_dims) float32, unit norm.
        top : int
            Tracks wanted for each vector.
        exclude : collection of int, optional
            Rows never to return.
        search_k : int
            Nodes that Annoy looks at; more are slower and miss less; -1 is ``top * n_trees`` or
            ``MIN_SEARCH_K``, whichever is more.

        Returns
        -------
        list of list of (int, float)
            For each vector up to ``top`` rows with their exact score, best first, equal scores by
            row.

        Raises
        ------
        ValueError
            If the vectors are not float32 unit rows of the index's dimension, or a row or number
            is out of range.
        """
        _check_vectors("vectors", vectors)
        if vectors.shape[1] != self.sidecar.n_dims:
            raise ValueError(
                f"vectors have {vectors.shape[1]} dimensions; the index has {self.sidecar.n_dims}"
            )
        if top < 1 or not (search_k == -1 or search_k >= 1):
            raise ValueError(
                f"top is {top} and search_k {search_k}; top must be at least 1, search_k too, or -1"
            )
        excluded = np.array(sorted(set(exclude or ())), np.int64)
        if len(excluded) and not (0 <= excluded[0] and excluded[-1] < len(self)):
            raise ValueError(
                f"exclude runs from {excluded[0]} to {excluded[-1]}; rows are 0 to {len(self) - 1}"
            )
        answers = (self._nearest(vector, top, excluded, search_k) for vector in vectors)
        return [list(zip(r.tolist(), s.tolist(), strict=True)) for r, s in answers]

    def farthest(
        self, vectors: np.ndarray, top: int, *, exclude: Collection[int] | None = None
    ) -> list[list[tuple[int, float]]]:
        """Return the tracks of lowest score, lowest first: the nearest ones to each negated vector.

        Parameters, form of the answer and errors are those of ``query``.
        """
        answers = self.query(-vectors, top, exclude=exclude)
        return [[(row, 0.0 - score) for row, score in answer] for answer in answers]

    def recall(
        self, n_queries: int = 200, top: int = 10, *, seed: int = 0, search_k: int = -1
    ) -> float:
        """Return the index recall: the share of the exact ``top`` nearest tracks that are found.

        Tracks drawn at random from the catalogue are the queries; each leaves itself out.  Of
        tracks with equal scores any will do.  ``search_k`` is that of ``query``.

        Raises
        ------
        ValueError
            If a number is below 1.
        """
        if n_queries < 1 or top < 1:
            raise ValueError(f"n_queries is {n_queries} and top {top}; both must be at least 1")
        n_found = n_true = 0
        for row in _sample(len(self), n_queries, seed):
            vector = self.embeddings[row]
            near = _within_reach(self.embeddings, vector, top + 1)
            exact = np.sort(_scores(self.embeddings[near[near != row]], vector))[::-1][:top]
            _, scores = self._nearest(vector, top, np.array([row]), search_k)
            n_true += len(exact)
            n_found += int(np.count_nonzero(scores >= exact[-1])) if len(exact) else 0
        return n_found / n_true if n_true else 1.0

    def _nearest(
        self, vector: np.ndarray, top: int, excluded: np.ndarray, search_k: int
    ) -> tuple[np.ndarray, np.ndarray]:
        over = self._overlay_rows[_within_reach(self._overlay, vector, top + len(excluded))]
        rows = np.concatenate([self._ask_base(vector, top, excluded, search_k), over])
        rows = rows[~np.isin(rows, excluded)]
        scores = _scores(self.embeddings[rows], vector)
        order = np.lexsort((rows, -scores))[:top]
        return rows[order], scores[order]

    def _ask_base(
        self, vector: np.ndarray, top: int, excluded: np.ndarray, search_k: int
    ) -> np.ndarray:
        """Ask Annoy for more and more rows until ``top`` of them are current and not excluded."""
        n_items, asked = self.sidecar.n_items, top + len(excluded)
        while n_items:
            asked = min(asked, n_items)
            n_nodes = search_k if search_k > 0 else max(asked * self.sidecar.n_trees, MIN_SEARCH_K)
            found = self._base.get_nns_by_vector(vector.tolist(), asked, n_nodes)
            rows = self._base_rows[found]
            rows = rows[rows >= 0]
            exhausted = asked == n_items or (search_k > 0 and len(found) < asked)
            if exhausted or np.count_nonzero(~np.isin(rows, excluded)) >= top:
                return rows
            asked *= 2
        return np.empty(0, np.int64)


class Refreshed(NamedTuple):
    """An index, whether it was built anew, and why, for the log."""

    index: TrackIndex
    rebuilt: bool
    reason: str


class Candidates(NamedTuple):
    """Candidate pairs: (n_candidates,) int64 rows a < b, unique and sorted, and their scores.

    ``scores`` is float32 and exact; ``recall`` the estimated share of the pairs at or above the
    threshold that are among them, None when the sample holds no such pair.
    """

    rows_a: np.ndarray
    rows_b: np.ndarray
    scores: np.ndarray
    recall: float | None


def build_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    n_trees: int = 50,
    seed: int = 0,
) -> TrackIndex:
    """Build an index and put it in place of the one before; the same input gives the same bytes.

    Parameters
    ----------
    directory : path
        Made when it is missing; receives ``<weights_id>.json`` and ``<weights_id>-<hash>.ann``.
    weights_id : str
        Letters and digits that name the extractor.
    ids : sequence of str
        One distinct id for each row.
    embeddings : numpy.ndarray
        (n, n_dims) float32, unit norm.
    n_trees, seed : int
        Annoy's: more trees are larger and miss less.

    Raises
    ------
    ValueError
        If the ids, embeddings or numbers are not as described.
    """
    _check_tracks(weights_id, ids, embeddings)
    if not (1 <= n_trees <= 10_000 and 0 <= seed < 2**31):
        raise ValueError(f"n_trees is {n_trees} and seed {seed}; 1 to 10,000 and 0 to 2**31 - 1")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    base = annoy.AnnoyIndex(embeddings.shape[1], METRIC)
    base.set_seed(seed)
    for row, vector in enumerate(embeddings):
        base.add_item(row, vector.tolist())
    base.build(n_trees, n_jobs=1)  # with more, the trees depend on how the threads are scheduled
    partial = folder / f"{weights_id}-partial.ann"
    base.save(str(partial))
    sidecar = Sidecar(
        format_version=FORMAT_VERSION,
        audit_version=getattr(auditor, "__version__", "unknown"),
        weights_id=weights_id,
        metric=METRIC,
        n_dims=embeddings.shape[1],
        n_items=len(ids),
        n_trees=n_trees,
        seed=seed,
        ann_size=partial.stat().st_size,
        ann_sha256=_sha256(partial),
        checksums=_checksums(np.ascontiguousarray(embeddings)),
        ids=tuple(ids),
    )
    base.unload()  # it maps the partial file, which some systems cannot rename then
    _put_in_place(partial, folder / sidecar.ann_name)
    base.load(str(folder / sidecar.ann_name))
    partial = folder / f"{weights_id}-partial.json"
    partial.write_text(json.dumps(dataclasses.asdict(sidecar)), encoding="utf-8")
    _put_in_place(partial, folder / f"{weights_id}.json")
    for stale in folder.glob(f"{weights_id}-*.ann"):
        if stale.name != sidecar.ann_name:
            stale.unlink(missing_ok=True)
    return TrackIndex(sidecar, base, ids, embeddings)


def open_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    verify: bool = False,
) -> TrackIndex:
    """Open the index of these weights, memory-mapped, for the tracks as they are now.

    Parameters
    ----------
    directory, weights_id, ids, embeddings
        As for ``build_index``.
    verify : bool
        Hash the Annoy file even when it is larger than ``VERIFY_BYTES``.

    Raises
    ------
    FileNotFoundError
        If there is no sidecar, hence no index.
    IndexFileError
        If the files are damaged, or of other weights or dimension.
    ValueError
        If the ids or embeddings are not as described.
    """
    _check_tracks(weights_id, ids, embeddings)
    sidecar = _read_sidecar(Path(directory) / f"{weights_id}.json")
    _check_origin(Path(directory), sidecar, weights_id, embeddings.shape[1])
    return TrackIndex(sidecar, _load_base(Path(directory), sidecar, verify), ids, embeddings)


def refresh_index(
    directory: str | os.PathLike[str],
    weights_id: str,
    ids: Sequence[str],
    embeddings: np.ndarray,
    *,
    n_trees: int = 50,
    seed: int = 0,
) -> Refreshed:
    """Open the index, or build it where it is missing, damaged or too far behind.

    Too far behind are more than 1,000 tracks, or 10 % of the base where that is more, that came,
    changed or left.  Parameters are those of ``build_index``.

    Raises
    ------
    IndexFileError
        If the index is of other weights or another dimension; it is not overwritten.
    ValueError
        As ``build_index``.
    """
    try:
        index = open_index(directory, weights_id, ids, embeddings)
    except FileNotFoundError:
        reason = "there is no index yet"
    except _MixedIndexError:
        raise
    except IndexFileError as error:
        reason = str(error).removesuffix(f" {_REBUILD}")
    else:
        sidecar = index.sidecar
        n_behind = index.n_overlay + index.n_tombstones
        if (sidecar.n_trees, sidecar.seed) != (n_trees, seed):
            reason = f"it has {sidecar.n_trees} trees of seed {sidecar.seed}"
        elif n_behind > max(1000, sidecar.n_items // 10):
            reason = f"{n_behind:,} tracks came, changed or left since it was built"
        else:
            return Refreshed(index, False, "")
    index = build_index(directory, weights_id, ids, embeddings, n_trees=n_trees, seed=seed)
    return Refreshed(index, True, reason)


def candidate_pairs(
    index: TrackIndex,
    *,
    threshold: float,
    top: int = 20,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Candidates:
    """Return the pairs of each track with its ``top`` nearest ones, whatever their score.

    Parameters
    ----------
    index : TrackIndex
        The catalogue.
    threshold : float
        In [-1, 1]; only for the estimate of recall, made on a random sample of tracks.
    top : int
        Neighbours asked for each track.
    seed : int
        Of the sample.
    progress : callable, optional
        Called with the tracks done and the tracks in all.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if not -1 <= threshold <= 1 or top < 1:
        raise ValueError(f"threshold is {threshold} and top {top}; -1 to 1 and at least 1")
    n, embeddings = len(index), index.embeddings
    keys, scores = [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for row in range(n):
        rows, found = index._nearest(embeddings[row], top, np.array([row]), -1)
        keys.append(np.minimum(rows, row) * n + np.maximum(rows, row))
        scores.append(found)
        if progress is not None:
            progress(row + 1, n)
    pairs, first = np.unique(np.concatenate(keys), return_index=True)
    n_true = n_found = 0
    low = threshold - _margin(embeddings)
    sample = _sample(n, _N_SAMPLE, seed)
    for part in np.split(sample, range(32, len(sample), 32)):
        for row, products in zip(part, embeddings[part] @ embeddings.T, strict=True):
            near = np.flatnonzero(products >= low)
            near = near[near != row]
            near = near[_scores(embeddings[near], embeddings[row]).astype(np.float64) >= threshold]
            wanted = np.minimum(near, row) * n + np.maximum(near, row)
            n_true += len(wanted)
            n_found += int(np.count_nonzero(np.isin(wanted, pairs)))
    recall = n_found / n_true if n_true else None
    return Candidates(pairs // max(n, 1), pairs % max(n, 1), np.concatenate(scores)[first], recall)


def _read_sidecar(path: Path) -> Sidecar:
    try:
        return from_json(Sidecar, json.loads(path.read_bytes()), where="sidecar")
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise IndexFileError(f"{show_path(path)} is damaged: {reason}. {_REBUILD}") from None


def _check_origin(folder: Path, sidecar: Sidecar, weights_id: str, n_dims: int) -> None:
    path = show_path(folder / f"{weights_id}.json")
    if sidecar.weights_id != weights_id:
        raise _MixedIndexError(
            f"{path} was built with weights {sidecar.weights_id} but the catalogue's embeddings "
            f"are of weights {weights_id}. {_REBUILD}"
        )
    if sidecar.n_dims != n_dims:
        raise _MixedIndexError(
            f"{path} has {sidecar.n_dims} dimensions but the catalogue's embeddings have {n_dims}. "
            f"{_REBUILD}"
        )


def _load_base(folder: Path, sidecar: Sidecar, verify: bool) -> annoy.AnnoyIndex:
    path = folder / sidecar.ann_name
    base = annoy.AnnoyIndex(sidecar.n_dims, METRIC)
    try:
        size = path.stat().st_size
        if size != sidecar.ann_size:
            raise OSError(f"it has {size:,} bytes of {sidecar.ann_size:,}")
        if (verify or size <= VERIFY_BYTES) and _sha256(path) != sidecar.ann_sha256:
            raise OSError("its SHA-256 is not the one in the sidecar")
        base.load(str(path))
        if base.get_n_items() != sidecar.n_items:
            raise OSError(f"it has {base.get_n_items():,} items of {sidecar.n_items:,}")
    except OSError as error:
        reason = error.strerror or str(error)
        raise IndexFileError(f"{show_path(path)} is damaged: {reason}. {_REBUILD}") from None
    return base


def _put_in_place(partial: Path, path: Path) -> None:
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksums(embeddings: np.ndarray) -> str:
    return "".join(f"{zlib.crc32(row):08x}" for row in embeddings)


def _sample(n: int, size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).choice(n, min(size, n), replace=False)


def _scores(vectors: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Score (n, n_dims) rows against one vector, with the very bits of ``pairs.exact_scores``."""
    products = vectors.astype(np.float64)
    products *= vector
    return np.clip(products.sum(axis=1).astype(np.float32), -1, 1)


def _margin(vectors: np.ndarray) -> float:
    """Twice the largest rounding error of a float32 product of two unit rows."""
    return (vectors.shape[1] + 2) * float(np.finfo(np.float32).eps)


def _within_reach(vectors: np.ndarray, vector: np.ndarray, top: int) -> np.ndarray:
    """Return the rows whose exact score could be among the ``top`` best, rounding considered."""
    n = len(vectors)
    if top >= n:
        return np.arange(n)
    products = vectors @ vector
    reach = np.partition(products, n - top)[n - top]
    return np.flatnonzero(products >= reach - 2 * _margin(vectors))


def _check_tracks(weights_id: str, ids: Sequence[str], embeddings: np.ndarray) -> None:
    if not re.fullmatch("[0-9A-Za-z]{1,64}", weights_id):
        raise ValueError(f"weights_id is {weights_id!r:.80}; letters and digits were expected")
    _check_vectors("embeddings", embeddings)
    if not len(set(ids)) == len(ids) == len(embeddings):
        raise ValueError(
            f"{len(ids)} ids ({len(set(ids))} distinct) for {len(embeddings)} embeddings; "
            "each row needs one id of its own"
        )


def _check_vectors(name: str, vectors: np.ndarray) -> None:
    if vectors.ndim != 2 or vectors.dtype != np.float32 or vectors.shape[1] < 1:
        raise ValueError(
            f"{name} is {vectors.shape} {vectors.dtype}; (n, n_dims) float32 was expected"
        )
    norms = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(norms - 1) <= 1e-4))
    if len(wrong):
        raise ValueError(
            f"row {wrong[0]} of {name} has norm {norms[wrong[0]]:.6g}; "
            "unit rows are needed (leave silent tracks out)"
        )
