"""Rows of an excerpt index found by usearch: a graph of neighbours (HNSW) over bytes.

It answers fastest and builds slowest.  usearch is optional (``pip install auditor[usearch]``); one
thread builds, so that the same rows give the same bytes with the same version of usearch and
processor.

References
----------
Y. A. Malkov, D. A. Yashunin, Efficient and robust approximate nearest neighbor search using
hierarchical navigable small world graphs, IEEE PAMI 42(4), 2020, arXiv:1603.09320.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from auditor.errors import UsageError

N_NEIGHBOURS = 16
"""Edges of a row."""

N_EXPANSIONS = 64
"""Rows kept in view while one is added, and while one is looked for unless told otherwise."""


class UsearchBackend:
    """usearch's HNSW, by cosine; the methods are those of ``excerpt_backend.Backend``."""

    def __init__(self, n_dims: int) -> None:
        try:
            from usearch.index import Index
        except ImportError:
            raise UsageError(
                "the excerpt index is of the backend 'usearch', which is not installed. "
                "Run: pip install 'auditor[usearch]'"
            ) from None
        self._index: Any = Index(
            ndim=n_dims,
            metric="cos",
            dtype="i8",
            connectivity=N_NEIGHBOURS,
            expansion_add=N_EXPANSIONS,
            expansion_search=N_EXPANSIONS,
        )

    def add(self, rows: np.ndarray) -> None:
        """Add (n, n_dims) float32 rows behind those before."""
        if len(rows):
            first = len(self._index)
            self._index.add(np.arange(first, first + len(rows)), rows, threads=1)

    def save(self, path: Path) -> None:
        """Write the file."""
        self._index.save(str(path))

    def load(self, path: Path) -> int:
        """Map a file that is known to be whole; return its rows."""
        n_dims = self._index.ndim
        try:
            self._index.view(str(path))
        except RuntimeError as error:
            raise ValueError(f"usearch cannot read {path.name}: {str(error)[:200]}") from None
        if self._index.ndim != n_dims:
            raise ValueError(f"{path.name} has rows of {self._index.ndim} dimensions")
        return len(self._index)

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vector numbers and rows, int64, and cosines, float32, of up to ``top`` each.

        ``search_k`` counts rows kept in view.
        """
        if len(vectors) == 0:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        self._index.expansion_search = search_k if search_k > 0 else max(N_EXPANSIONS, top)
        found = self._index.search(np.ascontiguousarray(vectors, np.float32), top, threads=1)
        keys = np.atleast_2d(found.keys)
        distances, counts = np.atleast_2d(found.distances), np.atleast_1d(found.counts)
        kept = np.arange(keys.shape[1]) < counts[:, None]
        which = np.repeat(np.arange(len(vectors)), kept.sum(axis=1))
        return which, keys[kept].astype(np.int64), (1.0 - distances[kept]).astype(np.float32)
