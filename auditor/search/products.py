"""Products of many unit vectors with many, block by block and on several cores.

A product only proposes (see ``auditor.search.vectors``), so it may be as rough as is quick, as long
as a bound on its error is known.  float32 products come from BLAS.  bfloat16 products, on
processors with instructions for them, take half the time or less; 8 bits of significand are too few
for a histogram but enough to leave out nearly all pairs.  They need torch; without, they are not
taken.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.parallel import AHEAD, Part, Result, map_ahead
from auditor.search.vectors import NORM_TOLERANCE, rounding_margin

if TYPE_CHECKING:
    import torch

_MANY = 10**8
"""Products from which on it pays to round all vectors to bfloat16 first."""

_CHUNK = 8192
"""Rows that are rounded to bfloat16 at once."""


class Products(Protocol):
    """Products of rows of one array of unit vectors with rows of another.

    Attributes
    ----------
    margin : float
        No product is farther than this from the exact score before that is clipped.
    """

    margin: float

    def __call__(self, rows: slice, columns: slice, out: np.ndarray) -> None:
        """Write the (n_rows, n_columns) float32 products into ``out``."""


class Float32Products:
    """Products by BLAS in float32.

    Parameters
    ----------
    left, right : numpy.ndarray
        (n_left, n_dims) and (n_right, n_dims) float32, unit norm.
    """

    def __init__(self, left: np.ndarray, right: np.ndarray) -> None:
        self._left, self._right = left, right
        self.margin = rounding_margin(left.shape[1])

    def __call__(self, rows: slice, columns: slice, out: np.ndarray) -> None:
        """Write the (n_rows, n_columns) float32 products into ``out``."""
        np.matmul(self._left[rows], self._right[columns].T, out=out)


class Bfloat16Products:
    """Products of vectors rounded to bfloat16, themselves rounded to bfloat16.

    With x = x' + dx and y = y' + dy, where x' and y' are the rounded vectors,
    ``x·y - x'·y' = dx·y + x'·dy``, which by Cauchy and Schwarz is at most ``|dx| |y| + |x'| |dy|``:
    the largest norm of what was rounded off, some 0.002, is measured and not assumed.  The sum is
    made in float32, and rounding it to 8 bits of significand moves it by at most 2**-8 of itself:
    0.0083 in all for 256 dimensions.

    Parameters
    ----------
    left, right : numpy.ndarray
        (n_left, n_dims) and (n_right, n_dims) float32, unit norm; one array may be both.
    """

    def __init__(self, left: np.ndarray, right: np.ndarray) -> None:
        self._left, lost_left = _rounded(left)
        self._right, lost_right = (self._left, lost_left) if right is left else _rounded(right)
        longest = 1 + 2 * NORM_TOLERANCE + max(lost_left, lost_right)
        lost = longest * (lost_left + lost_right)
        self.margin = lost + 2**-8 * (longest**2 + lost) + rounding_margin(left.shape[1])

    def __call__(self, rows: slice, columns: slice, out: np.ndarray) -> None:
        """Write the (n_rows, n_columns) products into ``out``, as float32."""
        import torch

        torch.from_numpy(out).copy_(self._left[rows] @ self._right[columns].T)


def _rounded(vectors: np.ndarray) -> tuple[torch.Tensor, float]:
    """Return vectors as a bfloat16 tensor, and the largest norm of what a row lost by that."""
    import torch

    rounded = torch.empty(vectors.shape, dtype=torch.bfloat16)
    lost = 0.0
    for start in range(0, len(vectors), _CHUNK):
        part = torch.tensor(vectors[start : start + _CHUNK])
        rounded[start : start + _CHUNK] = part
        part -= rounded[start : start + _CHUNK]
        lost = max(lost, float(part.double().norm(dim=1).max()))
    return rounded, lost


def quick_products(left: np.ndarray, right: np.ndarray) -> Products:
    """Return the quickest products of two arrays that this processor has.

    Parameters
    ----------
    left, right : numpy.ndarray
        (n_left, n_dims) and (n_right, n_dims) float32, unit norm; one array may be both.
    """
    if len(left) * len(right) >= _MANY and has_bfloat16():
        return Bfloat16Products(left, right)
    return Float32Products(left, right)


def has_bfloat16() -> bool:
    """Return whether this processor has instructions for products in bfloat16, as torch says.

    No torch, or one that does not tell (before ``torch.cpu.get_capabilities``), counts as no.
    """
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    named = capabilities.get("avx512_bf16") or capabilities.get("amx_bf16")
    return bool(named) and torch.backends.mkldnn.is_available()


def map_blocks(
    work: Callable[[Part, np.ndarray], Result], parts: Iterable[Part], *, size: int, jobs: int
) -> Generator[Result]:
    """Yield what ``work`` returns for each part, in the order of the parts.

    Parameters
    ----------
    work : callable
        Called with a part and a (size,) float32 buffer that is its own until it returns.
    parts : iterable
        One for each call; made as they are needed.
    size : int
        Numbers in a buffer, of which there is one for each job.
    jobs : int
        Threads that work at once, as numpy and torch let them.  In each of them BLAS and torch are
        kept to one thread of their own, so that no result depends on a number of threads.
    """
    own, torch = threading.local(), sys.modules.get("torch")

    def call(part: Part) -> Result:
        if not hasattr(own, "buffer"):
            own.buffer = np.empty(size, np.float32)
            if torch is not None:
                torch.set_num_threads(1)  # OpenMP counts for each thread
        return work(part, own.buffer)

    n_threads = torch.get_num_threads() if torch is not None else 0
    try:
        with threadpool_limits(limits=1, user_api="blas"):
            if jobs == 1:
                yield from map(call, parts)
                return
            with ThreadPoolExecutor(jobs) as threads:
                yield from map_ahead(threads, call, parts, n_ahead=AHEAD * jobs)
    finally:
        if torch is not None:
            torch.set_num_threads(n_threads)
