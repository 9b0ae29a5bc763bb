"""Annoy's forests without Annoy: the same file format, built and searched with NumPy.

Annoy has no wheels, so it needs a C++ compiler.  ``make_forest`` returns Annoy's own class where
Annoy is installed, and ``Forest``, which has the same methods, elsewhere.  Both read and write one
format, described in ``docs/decisions/0010-annoy-without-a-compiler.md``.

A search of one file returns the same rows either way, apart from rounding.  Annoy pops the node
with the highest priority from a queue until it has seen ``search_k`` items.  The priority of a node
is the smallest margin on the way to it, so no node has a higher priority than its parent, and the
leaves that Annoy sees are those of highest priority.  ``Forest`` finds the same leaves for many
vectors at once: it descends into every node at or above a floor, and lowers the floor of each
vector until its leaves hold enough items.

The builder draws other hyperplanes than Annoy does, by the same rule (two means of a sample), and
grows all nodes of a level at once.

References
----------
E. Bernhardsson, Annoy 1.17.3, ``src/annoylib.h``: ``two_means``, ``_make_tree``, ``_get_all_nns``.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

N_HEAD = 3
"""Words of a node before its vector: descendants, and two children or a squared norm."""

N_SAMPLED = 200
"""Rows that place the two means of a split."""

MAX_IMBALANCE = 0.95
"""Share of the larger side above which a split is drawn again, ``N_ATTEMPTS`` times in all."""

N_ATTEMPTS = 3

_CHUNK_BYTES = 1 << 24
"""Of vectors, gathered at once."""

_MAX_NODES = 4096
"""Nodes whose means are placed at once."""

_MAX_ROWS = 1 << 18
"""Items of trees that grow at once, unless one tree has more."""


def make_forest(n_dims: int) -> Any:
    """Return an empty forest by angle: an ``annoy.AnnoyIndex``, or a ``Forest`` without Annoy.

    Parameters
    ----------
    n_dims : int
        Dimensions of a vector.
    """
    try:
        import annoy
    except ImportError:
        return Forest(n_dims)
    return annoy.AnnoyIndex(n_dims, "angular")


def search_forest(
    forest: Any, vectors: np.ndarray, top: int, search_k: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest items of each vector.

    Parameters
    ----------
    forest : annoy.AnnoyIndex or Forest
        From ``make_forest``.
    vectors : numpy.ndarray
        (n, n_dims) float32.
    top, search_k : int
        Items wanted for each vector, and items looked at.

    Returns
    -------
    vectors, items : numpy.ndarray
        (n_found,) int64; at most ``top`` items a vector, nearest first.
    distances : numpy.ndarray
        (n_found,) float32: sqrt(2 (1 - cosine)).
    """
    if isinstance(forest, Forest):
        return forest.search(vectors, top, search_k)
    ask = forest.get_nns_by_vector
    answers = [ask(v, top, search_k, include_distances=True) for v in vectors.tolist()]
    n_found = [len(items) for items, _ in answers]
    listed = itertools.chain.from_iterable  # without a step of Python for each number
    items = np.fromiter(listed(items for items, _ in answers), np.int64, sum(n_found))
    away = np.fromiter(listed(far for _, far in answers), np.float32, sum(n_found))
    return np.repeat(np.arange(len(answers)), np.array(n_found, np.int64)), items, away


class Forest:
    """The methods of ``annoy.AnnoyIndex(n_dims, "angular")`` that an index needs.

    Items are numbered from 0 without gaps.  A file is not checked: the caller knows that it is
    whole.
    """

    def __init__(self, n_dims: int) -> None:
        self.f = self._n_dims = n_dims  # the name that Annoy has for it
        self._max_leaf = n_dims + 2  # Annoy's K: as many items as a node has room for
        self._seed = 0
        self._added: list[np.ndarray] = []
        self.unload()

    def set_seed(self, seed: int) -> None:
        """Set the seed of ``build``; the same items and seed give the same trees."""
        self._seed = seed

    def add_item(self, item: int, vector: Any) -> None:
        """Add an item, (n_dims,) numbers; ``item`` is one more than the last."""
        if item != len(self._added):
            raise ValueError(f"item is {item}; {len(self._added)} was expected")
        self._added.append(np.array(vector, np.float32))

    def build(self, n_trees: int, n_jobs: int = 1) -> None:
        """Grow the trees."""
        items = np.array(self._added, np.float32).reshape(-1, self._n_dims)
        self._added = []
        nodes = np.zeros((len(items), N_HEAD + self._n_dims), np.int32)
        nodes[:, 0] = 1
        nodes[:, 1] = np.einsum("ij,ij->i", items, items).view(np.int32)
        nodes[:, N_HEAD:] = items.view(np.int32)
        parts, n_nodes, roots = [nodes], len(nodes), []
        at_once = max(1, _MAX_ROWS // max(1, len(items)))
        for first in range(0, n_trees, at_once):
            rng = np.random.default_rng([self._seed, first])
            trees = _grow(items, min(at_once, n_trees - first), self._max_leaf, n_nodes, rng)
            for tree in trees:
                parts.append(tree)
                n_nodes += len(tree)
                roots.append(tree[-1:])
        self._take(np.concatenate([*parts, *roots]))

    def save(self, path: str) -> None:
        """Write the file."""
        with Path(path).open("wb") as file:
            self._nodes.tofile(file)

    def load(self, path: str) -> None:
        """Map a file that is known to be whole.

        Raises
        ------
        OSError
            If it cannot be read, or is not an array of nodes.
        """
        width = N_HEAD + self._n_dims
        size = Path(path).stat().st_size
        if size == 0 or size % (4 * width):
            raise OSError(f"it has {size:,} bytes, no multiple of {4 * width:,}")
        self._take(np.memmap(path, np.int32, "r").reshape(-1, width))

    def unload(self) -> None:
        """Let go of the file or the trees."""
        self._added = []
        self._nodes = np.zeros((0, N_HEAD + self._n_dims), np.int32)
        self._n_items, self._roots = 0, np.zeros(0, np.int64)

    def get_n_items(self) -> int:
        """Return the number of items."""
        return self._n_items

    def get_nns_by_vector(
        self, vector: Any, n: int, search_k: int = -1, include_distances: bool = False
    ) -> Any:
        """Return the nearest ``n`` items of a vector; with ``include_distances`` also how far."""
        wanted = search_k if search_k > 0 else n * len(self._roots)
        _, items, away = self.search(np.array([vector], np.float32), n, wanted)
        return (items.tolist(), away.tolist()) if include_distances else items.tolist()

    def search(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what ``search_forest`` does."""
        vectors = np.ascontiguousarray(vectors, np.float32)
        n_seen = min(search_k, len(self._roots) * max(self._n_items, 1)) + self._max_leaf
        step = max(1, _CHUNK_BYTES // (4 * self._n_dims * n_seen))
        found = [_NOTHING]
        for first in range(0, len(vectors), step):
            which, items, away = self._nearest(vectors[first : first + step], top, search_k)
            found.append((which + first, items, away))
        which, items, away = (np.concatenate(column) for column in zip(*found, strict=True))
        return which, items, np.sqrt(np.maximum(away, 0.0, dtype=np.float32))

    def _take(self, nodes: np.ndarray) -> None:
        """Use these nodes; the roots are repeated behind all trees, as many as have their count."""
        self._nodes = nodes
        n_descendants = nodes[:, 0]
        self._n_items = int(n_descendants[-1])
        n_roots, last = 1, len(nodes) - 1
        while n_roots <= last and n_descendants[last - n_roots] == self._n_items:
            n_roots += 1
        self._roots = np.arange(len(nodes) - n_roots, len(nodes))
        if n_roots > 1 and nodes[self._roots[0], 1] == nodes[last, 1]:
            self._roots = self._roots[1:]  # the last root itself, which lies before its copy

    def _nearest(
        self, vectors: np.ndarray, top: int, search_k: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return vectors, items and squared distances, nearest first."""
        which, items = self._items_of(*self._leaves(vectors, search_k))
        key = np.sort(which * max(self._n_items, 1) + items)
        key = key[np.diff(key, prepend=-1) > 0]
        which, items = np.divmod(key, max(self._n_items, 1))
        product = self._products(vectors, which, items)
        norms = np.einsum("ij,ij->i", vectors, vectors)[which]
        norms = (norms * self._nodes[items, 1].view(np.float32)).astype(np.float64)
        cosines = np.divide(product, np.sqrt(norms), out=np.zeros(len(items)), where=norms > 0)
        away = (2.0 - 2.0 * cosines).astype(np.float32)  # as rounded by Annoy, for equal ties
        rank = _ranks(which)
        if len(rank) and rank.max() >= top:  # sort no more than may be returned
            table = np.full((len(vectors), rank.max() + 1), np.inf, np.float32)
            table[which, rank] = away
            limit = np.partition(table, top - 1, axis=1)[:, top - 1]
            near = away <= limit[which]
            which, items, away = which[near], items[near], away[near]
        order = np.lexsort((items, away, which))
        order = order[_ranks(which[order]) < top]
        return which[order], items[order], away[order]

    def _leaves(self, vectors: np.ndarray, search_k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return (vector, node) of the leaves that Annoy would see, of all vectors."""
        n, n_roots = len(vectors), len(self._roots)
        open_ = _Nodes(
            np.repeat(np.arange(n), n_roots),
            np.tile(self._roots, n),
            np.full(n * n_roots, np.inf, np.float32),
        )
        floor = np.zeros(n, np.float32)
        leaves, sizes, waiting = [], [], []
        n_leaves, n_items = np.zeros(n, np.int64), np.zeros(n, np.int64)
        while True:
            while len(open_.node):
                n_below = self._nodes[open_.node, 0]
                is_leaf = n_below <= self._max_leaf
                leaves.append(open_.where(is_leaf))
                sizes.append(n_below[is_leaf])
                n_leaves += np.bincount(leaves[-1].which, minlength=n)
                n_items += np.bincount(leaves[-1].which, sizes[-1], minlength=n).astype(np.int64)
                below = self._children(vectors, open_.where(~is_leaf))
                above = below.priority >= floor[below.which]
                waiting.append(below.where(~above))
                open_ = below.where(above)
            rest = _join(waiting)
            rest = rest.where((n_items < search_k)[rest.which])
            if not len(rest.node):
                break
            rest = rest.where(np.lexsort((-rest.priority, rest.which)))
            # Every waiting node has a leaf of its own priority below it, or one of higher rank.
            short = np.ceil((search_k - n_items) * n_leaves / np.maximum(n_items, 1))
            is_next = _ranks(rest.which) < np.maximum(short, 1)[rest.which]
            np.minimum.at(floor, rest.which[is_next], rest.priority[is_next])
            is_next = rest.priority >= floor[rest.which]
            open_, waiting = rest.where(is_next), [rest.where(~is_next)]
        seen, size = _join(leaves), np.concatenate(sizes)
        order = np.lexsort((-seen.node, -seen.priority, seen.which))  # as Annoy's queue orders them
        seen, size = seen.where(order), size[order].astype(np.int64)
        before = np.cumsum(size) - size
        first = np.searchsorted(seen.which, np.arange(n))
        kept = before - before[np.minimum(first, len(before) - 1)][seen.which] < search_k
        return seen.which[kept], seen.node[kept]

    def _children(self, vectors: np.ndarray, parents: _Nodes) -> _Nodes:
        margin = self._products(vectors, parents.which, parents.node)
        children = self._nodes[parents.node, 1:N_HEAD].astype(np.int64)
        return _Nodes(
            np.concatenate([parents.which, parents.which]),
            np.concatenate([children[:, 0], children[:, 1]]),
            np.concatenate(
                [np.minimum(parents.priority, -margin), np.minimum(parents.priority, margin)]
            ),
        )

    def _products(self, vectors: np.ndarray, which: np.ndarray, node: np.ndarray) -> np.ndarray:
        """Return the products of vectors with vectors of nodes, (n,) float32."""
        products = np.empty(len(node), np.float32)
        step = max(1, _CHUNK_BYTES // (4 * self._n_dims))
        for first in range(0, len(node), step):
            part = slice(first, first + step)
            of_nodes = self._nodes[node[part], N_HEAD:].view(np.float32)
            np.einsum("ij,ij->i", vectors[which[part]], of_nodes, out=products[part])
        return products

    def _items_of(self, which: np.ndarray, node: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (vector, item) of the items of leaves: those of a bucket, or the leaf itself."""
        is_item = node < self._n_items
        buckets = self._nodes[node[~is_item]]
        listed = np.arange(1, self._max_leaf + 1) <= buckets[:, :1]
        in_bucket = buckets[:, 1:][listed].astype(np.int64)
        of_bucket = np.repeat(which[~is_item], listed.sum(axis=1))
        return (
            np.concatenate([which[is_item], of_bucket]),
            np.concatenate([node[is_item], in_bucket]),
        )


_NOTHING = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))


class _Nodes(NamedTuple):
    """Nodes with the vector that reached each, and its priority."""

    which: np.ndarray
    node: np.ndarray
    priority: np.ndarray

    def where(self, kept: np.ndarray) -> _Nodes:
        return _Nodes(self.which[kept], self.node[kept], self.priority[kept])


def _join(parts: list[_Nodes]) -> _Nodes:
    return _Nodes(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _ranks(groups: np.ndarray) -> np.ndarray:
    """Return the place of each entry within its group; the groups ascend."""
    at = np.arange(len(groups))
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    return at - np.repeat(starts, np.diff(starts, append=len(groups)))


def _runs(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the numbers of all runs, one run after the other."""
    ends = np.cumsum(sizes)
    return np.arange(sizes.sum()) + np.repeat(starts - (ends - sizes), sizes)


def _grow(
    items: np.ndarray, n_trees: int, max_leaf: int, first_id: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Return the nodes of each tree, (n_nodes, n_words) int32, children before parents.

    Parameters
    ----------
    items : numpy.ndarray
        (n_items, n_dims) float32.
    n_trees : int
    max_leaf : int
        Items of a bucket, at most.
    first_id : int
        Of the first node returned.
    rng : numpy.random.Generator
    """
    width = N_HEAD + items.shape[1]
    norms = np.sqrt(np.einsum("ij,ij->i", items, items))
    inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
    order = np.tile(np.arange(len(items), dtype=np.int32), n_trees)
    tree, starts = np.arange(n_trees), np.arange(n_trees) * len(items)
    sizes = np.full(n_trees, len(items))
    levels: list[np.ndarray] = []
    splits: list[np.ndarray] = []
    trees: list[np.ndarray] = []
    while len(starts):
        nodes = np.zeros((len(starts), width), np.int32)
        nodes[:, 0] = sizes
        small = sizes <= max_leaf
        listed = small[:, None] & (np.arange(max_leaf) < sizes[:, None])
        nodes[:, 1:][listed] = order[_runs(starts[small], sizes[small])]
        levels.append(nodes)
        trees.append(tree)
        splits.append(np.flatnonzero(~small))
        tree, starts, sizes = tree[~small], starts[~small], sizes[~small]
        normals, n_left = _split(items, inverse, order, starts, sizes, rng)
        nodes[splits[-1], N_HEAD:] = normals.view(np.int32)
        tree = np.repeat(tree, 2)
        starts = np.column_stack([starts, starts + n_left]).ravel()
        sizes = np.column_stack([n_left, sizes - n_left]).ravel()
    tree_of = np.concatenate(trees)
    upwards = np.lexsort((-np.arange(len(tree_of)), tree_of))  # of a tree, the lowest level first
    place = np.empty(len(upwards), np.int64)
    place[upwards] = first_id + np.arange(len(upwards))
    first_child = 0
    for nodes, split in zip(levels, splits, strict=True):
        first_child += len(nodes)
        children = first_child + np.arange(2 * len(split)).reshape(-1, 2)
        nodes[split, 1:N_HEAD] = place[children]
    ends = np.cumsum(np.bincount(tree_of, minlength=n_trees))
    return np.split(np.concatenate(levels)[upwards], ends[:-1])


def _split(
    items: np.ndarray,
    inverse: np.ndarray,
    order: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the runs of ``order`` in place; return (n, n_dims) normals and the sizes to the left.

    Where three hyperplanes leave nearly all items on one side, as among equal items, the run is
    cut in half and the normal is 0.
    """
    normals = np.zeros((len(starts), items.shape[1]), np.float32)
    n_left = sizes // 2
    todo = np.arange(len(starts))
    for _ in range(N_ATTEMPTS):
        drawn = [
            _two_means(items, inverse, order, starts[part], sizes[part], rng)
            for part in np.array_split(todo, -(-len(todo) // _MAX_NODES) or 1)
        ]
        normal = np.concatenate(drawn)
        at = _runs(starts[todo], sizes[todo])
        run = np.repeat(np.arange(len(todo)), sizes[todo])
        left = ~_is_right(items, order[at], normal, run)
        n = np.bincount(run, left, minlength=len(todo)).astype(np.int64)
        good = np.maximum(n, sizes[todo] - n) < MAX_IMBALANCE * sizes[todo]
        n_left[todo[good]], normals[todo[good]] = n[good], normal[good]
        moved = good[run]
        at, left, run = at[moved], left[moved], run[moved]
        ends = np.cumsum(left)
        before = (np.cumsum(n * good) - n * good)[run]  # to the left of runs before this one
        to_left = starts[todo][run] + ends - 1 - before
        to_right = at + n[run] - (ends - before)
        order[np.where(left, to_left, to_right)] = order[at]
        todo = todo[~good]
        if not len(todo):
            break
    return normals, n_left


def _is_right(
    items: np.ndarray, rows: np.ndarray, normal: np.ndarray, run: np.ndarray
) -> np.ndarray:
    right = np.empty(len(rows), bool)
    step = max(1, _CHUNK_BYTES // (4 * items.shape[1]))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        right[part] = np.einsum("ij,ij->i", items[rows[part]], normal[run[part]]) > 0
    return right


def _two_means(
    items: np.ndarray,
    inverse: np.ndarray,
    order: np.ndarray,
    starts: np.ndarray,
    sizes: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the unit difference of two means of each run, (n, n_dims) float32.

    Two items begin a mean each.  Sampled items join the mean for which angle times size is less.
    """
    n = len(starts)
    first = rng.integers(sizes)
    second = (first + 1 + rng.integers(sizes - 1)) % sizes
    drawn = rng.integers(sizes, size=(N_SAMPLED, n))
    sums, squares = [], []
    for at in (first, second):
        row = order[starts + at]
        sums.append(items[row] * inverse[row, None])
        squares.append((inverse[row] > 0).astype(np.float32))
    counts = [np.ones(n, np.float32), np.ones(n, np.float32)]
    for at in drawn:
        row = order[starts + at]
        vector = items[row] * inverse[row, None]
        product = [np.einsum("ij,ij->i", mean, vector) for mean in sums]
        away = [
            count * (1 - p / np.sqrt(np.maximum(square, 1e-12)))
            for count, p, square in zip(counts, product, squares, strict=True)
        ]
        is_first = away[0] < away[1]
        joins = [is_first & (inverse[row] > 0), ~is_first & (inverse[row] > 0)]
        part = vector * is_first[:, None]
        sums[0] += part
        sums[1] += vector - part
        for side in (0, 1):
            squares[side] += joins[side] * (2 * product[side] + 1)
            counts[side] += joins[side]
    normal = sums[0] / counts[0][:, None] - sums[1] / counts[1][:, None]
    lengths = np.linalg.norm(normal, axis=1, keepdims=True)
    return (normal / np.maximum(lengths, 1e-12)).astype(np.float32)
