"""Things read by their names, the last ones kept in memory up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ByteCache(Generic[Item]):
    """Reads an item unless it is kept; the one that was asked for longest ago goes first.

    A count of items would not bound memory: tracks are seconds or hours long.

    Parameters
    ----------
    read : callable
        A name to an item; what it raises goes through.
    size : callable
        An item to its bytes.
    max_bytes : int
        Of all items kept; the one asked for last is kept whatever its size.

    Examples
    --------
    >>> cache = ByteCache(str.upper, len, max_bytes=4)
    >>> cache("abc"), cache("de"), cache.n_bytes
    ('ABC', 'DE', 2)
    """

    def __init__(
        self, read: Callable[[str], Item], size: Callable[[Item], int], *, max_bytes: int
    ) -> None:
        self._read, self._size, self._max_bytes = read, size, max_bytes
        self._items: OrderedDict[str, Item] = OrderedDict()
        self.n_bytes = 0

    def __call__(self, name: str) -> Item:
        """Return the item of a name."""
        if name in self._items:
            self._items.move_to_end(name)
            return self._items[name]
        item = self._read(name)
        self._items[name] = item
        self.n_bytes += self._size(item)
        while self.n_bytes > self._max_bytes and len(self._items) > 1:
            _, gone = self._items.popitem(last=False)
            self.n_bytes -= self._size(gone)
        return item
