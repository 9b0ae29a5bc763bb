"""Rows of an excerpt index found by faiss: inverted lists of product-quantised rows.

A row takes 24 bytes, an eleventh of what Annoy needs.  Shards of few rows are searched exactly.
faiss is optional (``pip install auditor[faiss]``); one thread builds, so that the same rows give
the same bytes with the same version of faiss and processor.

References
----------
H. Jégou, M. Douze, C. Schmid, Product quantization for nearest neighbor search, IEEE PAMI 33(1),
2011, doi:10.1109/TPAMI.2010.57.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from auditor.errors import UsageError

MIN_ROWS = 20_000
"""Below so many rows there is too little to learn lists and codes from."""

CODE_BYTES = 16
"""Of a row; two of 32 axes share a byte."""

N_PROBES = 32
"""Lists looked at for one window unless told otherwise."""

_PER_LIST = 64
"""Rows that a list is learnt from; more add nothing but time."""

_PER_CODE, _ROUNDS = 32, 10
"""Rows that a code is learnt from, and rounds: a second for each shard in place of a minute."""


class FaissBackend:
    """faiss's IVF-PQ, by cosine; the methods are those of ``excerpt_backend.Backend``."""

    def __init__(self, n_dims: int, seed: int) -> None:
        try:
            import faiss
        except ImportError:
            raise UsageError(
                "the excerpt index is of the backend 'faiss', which is not installed. "
                "Run: pip install 'auditor[faiss]'"
            ) from None
        self._faiss: Any = faiss
        self._n_dims, self._seed = n_dims, seed
        self._rows: list[np.ndarray] = []
        self._index: Any = None

    def add(self, rows: np.ndarray) -> None:
        """Add (n, n_dims) float32 rows behind those before."""
        self._rows.append(_unit(rows))

    def save(self, path: Path) -> None:
        """Build, and write the file."""
        faiss = self._faiss
        rows = np.concatenate([np.zeros((0, self._n_dims), np.float32), *self._rows])
        self._rows = []
        n_threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)
        try:
            if len(rows) < MIN_ROWS:
                index = faiss.IndexFlatIP(self._n_dims)
            else:
                n_lists = round(4 * math.sqrt(len(rows)))
                lists = faiss.IndexFlatIP(self._n_dims)
                n_codes = math.gcd(CODE_BYTES, self._n_dims)
                index = faiss.IndexIVFPQ(
                    lists, self._n_dims, n_lists, n_codes, 8, faiss.METRIC_INNER_PRODUCT
                )
                index.cp.seed = index.pq.cp.seed = self._seed + 1
                index.cp.max_points_per_centroid = _PER_LIST
                index.pq.cp.max_points_per_centroid, index.pq.cp.niter = _PER_CODE, _ROUNDS
                index.train(rows)
            index.add(rows)
            faiss.write_index(index, str(path))
        finally:
            faiss.omp_set_num_threads(n_threads)

    def load(self, path: Path) -> int:
        """Map a file that is known to be whole; return its rows."""
        faiss = self._faiss
        try:
            self._index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
        except RuntimeError as error:
            raise ValueError(f"faiss cannot read {path.name}: {str(error)[:200]}") from None
        if self._index.d != self._n_dims:
            raise ValueError(f"{path.name} has rows of {self._index.d} dimensions")
        return self._index.ntotal

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vector numbers and rows, int64, and cosines, float32, of up to ``top`` each.

        ``search_k`` counts lists.
        """
        if hasattr(self._index, "nprobe"):
            self._index.nprobe = search_k if search_k > 0 else N_PROBES
        cosines, rows = self._index.search(_unit(vectors), top)
        found = rows >= 0
        which = np.repeat(np.arange(len(vectors)), found.sum(axis=1))
        return which, rows[found].astype(np.int64), np.clip(cosines[found], -1.0, 1.0)


def _unit(rows: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(norms, 1e-9), np.float32)
