"""What an excerpt index holds, and what finds it: windows chosen, axes, and the backend.

D-vectors of one extractor lie close to a space of fewer dimensions than they have.  An index keeps
them along their main axes, ``n_axes`` of them, a fourth of the size; as its rows lie in that space,
what a query has outside of it cannot make them nearer.

Annoy is the default backend; faiss and usearch are there for larger catalogues, where they are
installed (``BACKENDS``; benchmarks/RESULTS.md says up to which size each holds).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from auditor.embedding.pooling import audible_windows
from auditor.search.annoy_file import utf8_name
from auditor.search.annoy_forest import make_forest, search_forest
from auditor.search.annoy_nodes import check_nodes

MIN_SEARCH_K = 1000
"""Nodes that Annoy looks at for one window unless told otherwise."""

_BLOCK, _CELLS = 1024, 1 << 22
"""Windows compared with all earlier ones of their track at once, fewer of a track of hours."""


@dataclass(frozen=True)
class ExcerptConfig:
    """Which windows are indexed, and how.

    Attributes
    ----------
    step : int
        Only every so many-th window: neighbours overlap by three quarters.
    repeat_cosine : float
        Windows of one track at least this near to each other are repeats, as of a looped bar.
    n_repeats : int
        Of windows that repeat each other the first so many are indexed, so that one loop does not
        fill all answers.
    n_axes : int
        Dimensions kept; all of them when the d-vectors have no more.
    n_trees, seed : int
        More trees, which are Annoy's, are larger and miss less.
    backend : str
        One of ``BACKENDS``.
    """

    step: int = 2
    repeat_cosine: float = 0.97
    n_repeats: int = 4
    n_axes: int = 32
    n_trees: int = 10
    seed: int = 0
    backend: str = "annoy"

    def __post_init__(self) -> None:
        ranges = {"step": (1, 64), "n_repeats": (1, 10_000), "n_axes": (1, 2048)}
        ranges |= {"n_trees": (1, 10_000), "seed": (0, 2**31 - 1), "repeat_cosine": (-1, 2)}
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; {low} to {high} is allowed")
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is {self.backend!r}; one of {sorted(BACKENDS)} was expected")


class Backend(Protocol):
    """What finds rows near a vector; one is made for each shard, with (n_dims, config)."""

    def add(self, rows: np.ndarray) -> None:
        """Add (n, n_dims) float32 rows behind those before."""

    def save(self, path: Path) -> None:
        """Build, and write the file; the same rows give the same bytes."""

    def load(self, path: Path) -> int:
        """Map a file; return its rows, or raise ValueError where it shows that it is damaged."""

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vector numbers and rows, int64, and cosines, float32, of up to ``top`` each."""


class AnnoyBackend:
    """Annoy's forest of random hyperplanes, by angle; without Annoy, NumPy's of the same format."""

    def __init__(self, n_dims: int, config: ExcerptConfig) -> None:
        self._annoy = make_forest(n_dims)
        self._config = config
        self._n_rows = 0

    def add(self, rows: np.ndarray) -> None:
        """Add (n, n_dims) float32 rows behind those before."""
        for row, vector in enumerate(rows.tolist(), self._n_rows):
            self._annoy.add_item(row, vector)
        self._n_rows += len(rows)

    def save(self, path: Path) -> None:
        """Build, and write the file; the same rows give the same bytes."""
        self._annoy.set_seed(self._config.seed)
        self._annoy.build(self._config.n_trees, n_jobs=1)  # more jobs, and the trees vary
        with utf8_name(path.parent) as folder:
            self._annoy.save(str(folder / path.name))
        self._annoy.unload()

    def load(self, path: Path) -> int:
        """Map a file, its nodes checked; return its rows."""
        check_nodes(path, self._annoy.f, self._config.n_trees)
        with utf8_name(path.parent) as folder:
            self._annoy.load(str(folder / path.name))
        return self._annoy.get_n_items()

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vector numbers and rows, int64, and cosines, float32, of up to ``top`` each."""
        n_nodes = search_k if search_k > 0 else max(top * self._config.n_trees, MIN_SEARCH_K)
        which, rows, far = search_forest(self._annoy, vectors, top, n_nodes)
        return which, rows, 1.0 - far * far / 2.0


def _faiss(n_dims: int, config: ExcerptConfig) -> Backend:
    from auditor.search.excerpts.backends.faiss import FaissBackend  # an extra

    return FaissBackend(n_dims, config.seed)


def _usearch(n_dims: int, config: ExcerptConfig) -> Backend:
    from auditor.search.excerpts.backends.usearch import UsearchBackend  # an extra

    return UsearchBackend(n_dims)


BACKENDS: dict[str, Callable[[int, ExcerptConfig], Backend]] = {
    "annoy": AnnoyBackend,
    "faiss": _faiss,
    "usearch": _usearch,
}
"""What makes the backend of a shard, of the dimensions of its rows and its config."""


def distinct_windows(
    dvectors: np.ndarray, levels: np.ndarray, config: ExcerptConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return the windows of a track that are indexed: audible, every so many-th, few repeats.

    Parameters
    ----------
    dvectors : numpy.ndarray
        (n_windows, n_dims) of any float type.
    levels : numpy.ndarray
        (n_windows,) dB.
    config : ExcerptConfig

    Returns
    -------
    windows : numpy.ndarray
        (n,) int64, ascending.
    rows : numpy.ndarray
        (n, n_dims) float32, their d-vectors, unit norm.
    """
    windows = np.arange(0, len(dvectors), config.step)
    rows = np.asarray(dvectors[:: config.step], np.float32)
    norms = np.linalg.norm(rows, axis=1)
    kept = (norms > 0.5) & audible_windows(np.asarray(levels))[:: config.step]
    windows, rows = windows[kept], rows[kept] / norms[kept, None]
    repeats = np.zeros(len(rows), np.int64)
    size = max(1, min(_BLOCK, _CELLS // max(len(rows), 1)))
    for start in range(0, len(rows), size):
        stop = min(start + size, len(rows))
        alike = rows[start:stop] @ rows[:stop].T >= config.repeat_cosine
        repeats[start:stop] = np.tril(alike, start - 1).sum(axis=1)
    kept = repeats < config.n_repeats
    return windows[kept], rows[kept]


def main_axes(rows: np.ndarray, n_axes: int) -> np.ndarray:
    """Return the directions along which rows are largest.

    Parameters
    ----------
    rows : numpy.ndarray
        (n, n_dims) float32.
    n_axes : int

    Returns
    -------
    numpy.ndarray
        (n_dims, min(n_axes, n_dims)) float32, orthonormal columns; the unit axes themselves where
        all are kept.
    """
    n_dims = rows.shape[1]
    if n_axes >= n_dims:
        return np.eye(n_dims, dtype=np.float32)
    moments = rows.T.astype(np.float64) @ rows
    return np.linalg.eigh(moments)[1][:, ::-1][:, :n_axes].astype(np.float32)
