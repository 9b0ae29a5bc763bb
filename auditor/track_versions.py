"""Which tracks there are, and which version of each: sorted arrays in place of a dictionary.

A catalogue of a hundred thousand tracks is opened and compared with its index in milliseconds, and
the arrays lie in files as they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np


class TrackVersions(Mapping[str, int]):
    """Track ids to numbers that change when the track's embedding does, sorted by id.

    Parameters
    ----------
    ids : numpy.ndarray
        (n,) bytes of fixed width, UTF-8, strictly ascending: ``np.array([...], "S")``.
    numbers : numpy.ndarray
        (n,) uint32, the CRC-32 of each embedding.

    Raises
    ------
    ValueError
        If the ids are not ascending, or not as many as the numbers.

    Examples
    --------
    >>> tracks = TrackVersions.of({"b": 7, "a": 9})
    >>> dict(tracks), tracks.row_of("b"), tracks.row_of("x"), tracks.id_of(0)
    ({'a': 9, 'b': 7}, 1, -1, 'a')
    """

    def __init__(self, ids: np.ndarray, numbers: np.ndarray) -> None:
        if len(ids) != len(numbers) or not (ids[1:] > ids[:-1]).all():
            raise ValueError(
                f"{len(ids)} ids and {len(numbers)} versions; as many, and ids in order are needed"
            )
        self.ids, self.numbers = ids, numbers

    @classmethod
    def of(cls, versions: Mapping[str, int]) -> TrackVersions:
        """Return the tracks of any mapping, which may be in any order."""
        if isinstance(versions, cls):
            return versions
        names = sorted(versions)  # as their UTF-8 bytes are sorted
        numbers = np.fromiter((versions[name] for name in names), np.uint32, len(names))
        return cls(encode_ids(names), numbers)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __getitem__(self, track_id: str) -> int:
        row = self.row_of(track_id)
        if row < 0:
            raise KeyError(track_id)
        return int(self.numbers[row])

    def names(self, rows: np.ndarray | slice = slice(None)) -> list[str]:
        """Return the ids of some rows, of all by default."""
        return [name.decode() for name in self.ids[rows].tolist()]

    def id_of(self, row: int) -> str:
        """Return the id of a row."""
        return bytes(self.ids[row]).decode()

    def row_of(self, track_id: str) -> int:
        """Return the row of an id, -1 where it is none."""
        name = track_id.encode()
        row = int(np.searchsorted(self.ids, np.bytes_(name))) if len(self.ids) else 0
        return row if row < len(self.ids) and self.ids[row] == name else -1

    def rows_in(self, others: TrackVersions) -> np.ndarray:
        """Return where each track lies among others that hold the same version of it, (n,) int64.

        -1 stands for those that do not.
        """
        if len(others) == 0:
            return np.full(len(self), -1)
        rows = np.minimum(np.searchsorted(others.ids, self.ids), len(others) - 1)
        same = (others.ids[rows] == self.ids) & (others.numbers[rows] == self.numbers)
        return np.where(same, rows, -1)


def encode_ids(names: list[str]) -> np.ndarray:
    """Return ids as (n,) bytes of one width, at least 1."""
    encoded = [name.encode() for name in names]
    return np.array(encoded, f"S{max(map(len, encoded), default=1) or 1}")
