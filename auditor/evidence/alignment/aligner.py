"""The second witness over many pairs: tracks prepared once, long ones compared part by part.

``Examiner.evidence`` is ``witness.compare_tracks`` with the tracks read and prepared as they are
needed.  The similarity matrix of a pair is bounded: of two long tracks it is searched in parts that
overlap, and ranges that go on in the next part are joined.
"""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import numpy as np

from auditor.evidence.alignment.ranges import (
    WitnessConfig,
    WitnessTrack,
    compare_tracks,
    gather_evidence,
    prepare_track,
)
from auditor.records import Evidence, MatchedRange

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


MAX_CELLS = 1 << 22
"""Windows of a times windows of b that are compared at once: 28 minutes with 28 minutes."""

OVERLAP = 128
"""Windows that neighbouring parts of a long track share."""

PREPARED_BYTES = 1 << 26
"""Of prepared tracks that are kept, 160 kB for four minutes each."""

_SAME_LINE_S = 2.0

Read = Callable[[str], tuple[np.ndarray, np.ndarray, float]]
"""Id of a track to d-vectors (n_windows, n_dims), levels (n_windows,) and duration in seconds."""


class Examiner:
    """Finds the evidence of pairs of tracks.

    Parameters
    ----------
    read : callable
        See ``Read``; what it raises goes through.
    hop_s, window_s : float
        Step and length of the windows, in seconds.
    config : WitnessConfig, optional
    """

    def __init__(
        self, read: Read, *, hop_s: float, window_s: float, config: WitnessConfig | None = None
    ) -> None:
        self._read = read
        self._hop_s, self._window_s = hop_s, window_s
        self._config = config or WitnessConfig()
        self._prepared = ByteCache(self._prepare, _n_bytes, max_bytes=PREPARED_BYTES)

    def prepare(
        self, dvectors: np.ndarray, levels: np.ndarray, duration_s: float
    ) -> WitnessTrack | None:
        """Return a track that is not read by its id; None where it has no window."""
        if len(dvectors) == 0:
            return None
        return prepare_track(
            dvectors,
            levels=levels,
            duration_s=duration_s,
            hop_s=self._hop_s,
            window_s=self._window_s,
            config=self._config,
        )

    def track(self, track_id: str) -> WitnessTrack | None:
        """Return a track by its id; None where it has no window."""
        return self._prepared(track_id)

    def evidence(self, a: WitnessTrack | None, b: WitnessTrack | None) -> Evidence:
        """Return what two tracks share; nothing where one of them has no window."""
        if a is None or b is None:
            return Evidence(-1.0, (), 0.0, 0.0, 1.0, 0.0)
        if len(a.dvectors) * len(b.dvectors) <= MAX_CELLS:
            return self._compare(a, b)
        parts = [
            (at_a * self._hop_s, at_b * self._hop_s, self._compare(part_a, part_b))
            for at_a, part_a in _parts(a, b, self._hop_s)
            for at_b, part_b in _parts(b, a, self._hop_s)
        ]
        return _joined(parts, a.duration_s, b.duration_s, self._config.max_ranges)

    def _prepare(self, track_id: str) -> WitnessTrack | None:
        return self.prepare(*self._read(track_id))

    def _compare(self, a: WitnessTrack, b: WitnessTrack) -> Evidence:
        return compare_tracks(a, b, hop_s=self._hop_s, window_s=self._window_s, config=self._config)


def _n_bytes(track: WitnessTrack | None) -> int:
    return 0 if track is None else track.dvectors.nbytes + 9 * len(track.dvectors)


def _parts(
    track: WitnessTrack, other: WitnessTrack, hop_s: float
) -> Iterator[tuple[int, WitnessTrack]]:
    """Yield a track in overlapping parts that fit, and the window each begins at."""
    n = len(track.dvectors)
    longest = max(4 * OVERLAP, MAX_CELLS // min(len(other.dvectors), math.isqrt(MAX_CELLS)))
    for first in range(0, max(n - OVERLAP, 1), longest - OVERLAP):
        part = slice(first, first + longest)
        yield (
            first,
            WitnessTrack(
                track.dvectors[part],
                track.audible[part],
                track.weights[part],
                track.backgrounds[part],
                min(track.duration_s - first * hop_s, longest * hop_s),
            ),
        )


def _joined(
    parts: list[tuple[float, float, Evidence]], a_s: float, b_s: float, max_ranges: int
) -> Evidence:
    """Make the evidence of parts, each with the seconds it begins at, that of the whole pair."""
    ranges: list[MatchedRange] = []
    found = (_moved(r, *at) for *at, evidence in parts for r in evidence.ranges)
    for new in sorted(found, key=lambda r: (r.a_start_s, r.b_start_s)):
        for i, old in enumerate(ranges):
            if _goes_on(old, new):
                ranges[i] = _union(old, new)
                break
        else:
            ranges.append(new)
    ranges.sort(key=lambda r: (-r.score, r.a_start_s))
    return gather_evidence(
        max(evidence.score for _, _, evidence in parts),
        ranges[:max_ranges],
        a_s=a_s,
        b_s=b_s,
        background=float(np.mean([evidence.background for _, _, evidence in parts])),
    )


def _moved(r: MatchedRange, a_s: float, b_s: float) -> MatchedRange:
    return dataclasses.replace(
        r,
        a_start_s=r.a_start_s + a_s,
        a_end_s=r.a_end_s + a_s,
        b_start_s=r.b_start_s + b_s,
        b_end_s=r.b_end_s + b_s,
    )


def _goes_on(old: MatchedRange, new: MatchedRange) -> bool:
    """Say whether a range begins within another one, on its line."""
    if new.a_start_s > old.a_end_s + _SAME_LINE_S:
        return False
    on_line_s = old.b_start_s + old.tempo * (new.a_start_s - old.a_start_s)
    return abs(on_line_s - new.b_start_s) <= _SAME_LINE_S + 0.02 * (new.a_start_s - old.a_start_s)


def _union(old: MatchedRange, new: MatchedRange) -> MatchedRange:
    best = max(old, new, key=lambda r: r.score)
    last = max(old, new, key=lambda r: r.a_end_s)
    return dataclasses.replace(
        best,
        a_start_s=old.a_start_s,
        b_start_s=old.b_start_s,
        a_end_s=last.a_end_s,
        b_end_s=last.b_end_s,
    )
