"""Checks the nodes of an Annoy file, which Annoy follows without checking them.

A file is an array of nodes of one size.  By angle a node is ``n_descendants``, two children, and
``n_dims`` float32: the vector of an item, or the normal of a split.  The items come first, one
descendant each.  A node with at most ``n_dims + 2`` descendants is a bucket: it lists them in place
of children and normal.  Any other one is a split, whose two children lie before it.  The roots are
repeated at the end, and have as many descendants as there are items.

Annoy reads whatever node a pointer names: a pointer beyond the array ends the process, and one that
leads back to its own node never ends.  Where every child lies before its only parent, the nodes are
trees, and a query visits each node once at most.  Vectors of items have at most unit norm here;
others could give a distance that is not a number.

References
----------
E. Bernhardsson, Annoy 1.17.3, ``src/annoylib.h``: ``_make_tree``, ``load`` and ``_get_all_nns``.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

_CHUNK_BYTES = 1 << 21
"""Of the file, read at once; beside it one byte of each node is kept."""

_LARGEST = 2.0
"""Numbers of an item's vector, and its squared norm, are at most 1, rounding aside."""


def check_nodes(path: Path, n_dims: int, n_trees: int) -> int:
    """Check that no node of an Annoy file by angle leads Annoy out of the file or in a circle.

    The whole file is read, once in a process unless it changes.

    Parameters
    ----------
    path : pathlib.Path
    n_dims : int
        Dimensions of a vector.
    n_trees : int
        Trees that the file was built with.

    Returns
    -------
    int
        Its items.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If Annoy cannot have written it.
    """
    stat = path.stat()
    stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _n_items(path, n_dims, n_trees, stamp)


@functools.lru_cache(maxsize=1024)
def _n_items(path: Path, n_dims: int, n_trees: int, stamp: tuple[int, ...]) -> int:
    n_words, size = n_dims + 3, stamp[2]
    n_nodes, rest = divmod(size, 4 * n_words)
    if rest or not 2 * n_trees <= n_nodes < 2**31:
        raise ValueError(
            f"it has {size:,} bytes, which {2 * n_trees:,} nodes or more of {4 * n_words:,} bytes "
            "do not fill"
        )
    with path.open("rb") as file:
        file.seek(size - 4 * n_words)
        n_items = int(_read(file, 1, n_words)[0, 0])
        if not 0 <= n_items <= n_nodes - 2 * n_trees:
            raise ValueError(f"its root has {n_items:,} items of {n_nodes - 2 * n_trees:,} nodes")
        file.seek(0)
        check = _NodeCheck(n_items, n_nodes, n_trees)
        step = max(1, _CHUNK_BYTES // (4 * n_words))
        for first in range(0, n_nodes, step):
            check.take(first, _read(file, min(step, n_nodes - first), n_words))
        check.close()
    return n_items


class _NodeCheck:
    """One pass over the nodes."""

    def __init__(self, n_items: int, n_nodes: int, n_trees: int) -> None:
        self._n_items, self._n_trees = n_items, n_trees
        self._first_copy = n_nodes - n_trees
        self._is_child = np.zeros(self._first_copy, bool)
        self._roots = [np.zeros((0, 4), np.int64)]  # position, descendants and children of each
        self._copies = [np.zeros((0, 4), np.int64)]
        self._n_roots = 0

    def take(self, first: int, nodes: np.ndarray) -> None:
        """Check the nodes from ``first`` on, (n, n_words) int32."""
        at = np.arange(first, first + len(nodes))
        n_descendants = nodes[:, 0]
        inner = at >= self._n_items
        low = np.where(inner, min(1, self._n_items), 1)
        high = np.where(inner, self._n_items, 1)
        _refuse(at, (n_descendants < low) | (n_descendants > high), "a wrong number of descendants")
        self._check_vectors(first, nodes[: max(0, self._n_items - first)])
        bucket = inner & (n_descendants < nodes.shape[1])
        listed = np.arange(1, nodes.shape[1]) <= n_descendants[bucket, None]
        items = nodes[bucket, 1:]
        wrong = ((items < 0) | (items >= self._n_items)) & listed
        _refuse(at[bucket], wrong.any(axis=1), "an item that is not there")
        split = inner & ~bucket
        children = nodes[split, 1:3]
        wrong = (children < 0) | (children >= np.minimum(at[split], self._first_copy)[:, None])
        _refuse(at[split], wrong.any(axis=1), "a child that does not lie before it")
        below = children[at[split] < self._first_copy].ravel()
        below = np.sort(below[below >= self._n_items])
        again = self._is_child[below]
        again[1:] |= below[1:] == below[:-1]
        _refuse(below, again, "two parents")
        self._is_child[below] = True
        root = inner & (n_descendants == self._n_items)
        heads = np.column_stack([at, nodes[:, :3]])
        self._roots.append(heads[root & (at < self._first_copy)])
        self._copies.append(heads[at >= self._first_copy])
        self._n_roots += len(self._roots[-1])
        self._check_number_of_roots(at_most=True)

    def _check_vectors(self, first: int, items: np.ndarray) -> None:
        for numbers in (items[:, 1:2].view(np.float32), items[:, 3:].view(np.float32)):
            lowest, highest = numbers.min(initial=0.0), numbers.max(initial=0.0)
            if not -_LARGEST <= lowest <= highest <= _LARGEST:  # nor is NaN
                wrong = ~(np.abs(numbers) <= _LARGEST).all(axis=1)
                _refuse(first + np.arange(len(items)), wrong, "a vector that is not of unit norm")

    def close(self) -> None:
        """Check what only the whole array shows."""
        self._check_number_of_roots()
        roots, copies = np.concatenate(self._roots), np.concatenate(self._copies)
        _refuse(roots[:, 0], self._is_child[roots[:, 0]], "a parent, and is a root")
        _refuse(
            copies[:, 0], (roots[:, 1:] != copies[:, 1:]).any(axis=1), "no root that it repeats"
        )

    def _check_number_of_roots(self, *, at_most: bool = False) -> None:
        if self._n_roots > self._n_trees or (self._n_roots < self._n_trees and not at_most):
            raise ValueError(f"it has {self._n_roots:,} roots of {self._n_trees:,}")


def _refuse(at: np.ndarray, wrong: Any, what: str) -> None:
    if wrong.any():
        raise ValueError(f"its node {at[wrong.argmax()]:,} has {what}")


def _read(file: BinaryIO, n_nodes: int, n_words: int) -> np.ndarray:
    words = np.fromfile(file, np.int32, n_nodes * n_words)
    if len(words) != n_nodes * n_words:
        raise ValueError("it became shorter while it was read")
    return words.reshape(n_nodes, n_words)
