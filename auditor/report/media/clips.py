"""One track's waveform and clips, decoded in a single pass of constant memory.

Clips are Opus in Ogg (RFC 6716, RFC 7845); the same file gives the same bytes.
"""

from __future__ import annotations

import base64
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from auditor.audio.encode import encode
from auditor.audio.isolated import IsolatedReader, hear
from auditor.records import MatchedRange
from auditor.report.media.model import MAX_PEAK

N_PEAKS = 400
"""Stretches of a waveform."""

CLIP_RATE_HZ = 24_000
"""More than the 16 kHz that tracks are compared at: people listen to clips."""

CLIP_BIT_RATE = 32_000
CLIP_MIME = "audio/ogg; codecs=opus"

CLIP_LENGTHS_S = (120.0, 60.0, 30.0, 20.0, 10.0)
"""Longest clips of a track a, in seconds: a report has the first of these lengths with which its
clips take half of its limit at most, so that a range is heard whole where there are few of them.
That of b holds the same music at its own tempo."""

MAX_CLIP_S = CLIP_LENGTHS_S[-1]
"""Longest clip where nothing is said of the others."""

MAX_COMPOSITION_CLIP_S = 20.0
"""As ``MAX_CLIP_S``, of a composition: a melody takes longer to recognise than a recording."""

_MAX_STRETCH = 1.3
_MIN_CLIP_S = 0.5
_TEMPOS = (0.25, 4.0)
"""A range that claims a tempo outside these is cut as if both tracks were equally fast."""

Span = tuple[int, int]
"""First sample of a clip, and number of samples, at ``CLIP_RATE_HZ``."""


@dataclass(frozen=True)
class DecodedTrack:
    """What one pass over a track gave.

    Attributes
    ----------
    peaks : tuple of int
        Highest level of each of ``N_PEAKS`` equal stretches, 0 to ``MAX_PEAK``; may be empty.
    clips : mapping
        By the span that was asked for: number of samples that there were, and the encoded file in
        base64.  Spans that lie beyond the end of the file are absent.
    """

    peaks: tuple[int, ...] = ()
    clips: Mapping[Span, tuple[int, str]] = field(default_factory=dict)


def clip_spans(matched: MatchedRange, *, longest_s: float = MAX_CLIP_S) -> tuple[Span, Span]:
    """Return where the clips of a range lie in a and in b: the same music, from the same moment.

    Both begin with the range if it is short, else at the same moment about its middle.  That of a
    has at most ``longest_s`` seconds.

    Examples
    --------
    >>> short = MatchedRange(4.0, 8.0, 10.0, 15.0, 1.25, 0.9, None, 0.0)
    >>> [(start / CLIP_RATE_HZ, n / CLIP_RATE_HZ) for start, n in clip_spans(short)]
    [(4.0, 4.0), (10.0, 5.0)]
    """
    length_s = max(_MIN_CLIP_S, matched.a_end_s - matched.a_start_s)
    tempo = matched.tempo if _TEMPOS[0] <= matched.tempo <= _TEMPOS[1] else 1.0
    clip_s = min(length_s, longest_s, _MAX_STRETCH * longest_s / tempo)
    into_s = (length_s - clip_s) / 2.0 if length_s > longest_s else 0.0
    return (
        _span(matched.a_start_s + into_s, clip_s),
        _span(matched.b_start_s + into_s * tempo, clip_s * tempo),
    )


def _span(start_s: float, length_s: float) -> Span:
    return round(max(0.0, start_s) * CLIP_RATE_HZ), math.ceil(length_s * CLIP_RATE_HZ)


def clip_bytes(spans: Collection[Span]) -> float:
    """Return about how many bytes the clips of some spans take in base64."""
    return sum(n for _, n in spans) / CLIP_RATE_HZ * CLIP_BIT_RATE / 8.0 * 4.0 / 3.0


def listen(
    path: str | bytes | os.PathLike[str], *, duration_s: float, spans: Collection[Span]
) -> DecodedTrack:
    """Decode a track up to the end of what is wanted of it.

    Parameters
    ----------
    path : path
    duration_s : float
        Seconds that the waveform stands for; what a longer file has beyond is not shown, and what
        a shorter one lacks is silence.  0 for no waveform.
    spans : collection of Span
        Clips to encode.

    Raises
    ------
    AudioError
        If the file cannot be read.
    OSError
        If reading it fails midway.
    """
    return hear(
        path,
        lambda reader: _listen(reader, round(duration_s * CLIP_RATE_HZ), spans),
        sample_rate_hz=CLIP_RATE_HZ,
    )


def _listen(reader: IsolatedReader, n_samples: int, spans: Collection[Span]) -> DecodedTrack:
    highest = np.zeros(N_PEAKS, dtype=np.float32)
    parts: dict[Span, list[np.ndarray]] = {span: [] for span in sorted(spans)}
    clips: dict[Span, tuple[int, str]] = {}
    last = max([n_samples, *(start + n for start, n in spans)])
    position = 0
    for block in reader.blocks():
        _raise_peaks(highest, np.abs(block[: max(0, n_samples - position)]), position, n_samples)
        for start, n in list(parts):
            part = block[max(0, start - position) : max(0, start + n - position)]
            if len(part):
                parts[start, n].append(part.copy())
            if start + n <= position + len(block):
                clips.update(_encoded((start, n), parts.pop((start, n))))
        position += len(block)
        if position >= last:
            break
    for span, cut_short in parts.items():
        clips.update(_encoded(span, cut_short))
    peaks = np.rint(np.clip(highest, 0.0, 1.0) * MAX_PEAK).astype(int).tolist()
    return DecodedTrack(tuple(peaks) if n_samples else (), clips)


def _raise_peaks(highest: np.ndarray, levels: np.ndarray, position: int, n_samples: int) -> None:
    """Raise the peaks of a track of so many samples to the levels of a block at a position."""
    if not len(levels):
        return
    low = position * N_PEAKS // n_samples
    high = (position + len(levels) - 1) * N_PEAKS // n_samples + 1
    firsts = -(-np.arange(low, high) * n_samples // N_PEAKS) - position
    block = np.maximum.reduceat(levels, np.maximum(firsts, 0))
    np.maximum(highest[low:high], block, out=highest[low:high])


def _encoded(span: Span, parts: Sequence[np.ndarray]) -> dict[Span, tuple[int, str]]:
    """Return the clip of a span, or nothing where the file ends before it or soon after."""
    n_heard = sum(len(part) for part in parts)
    if n_heard < min(span[1], _MIN_CLIP_S * CLIP_RATE_HZ):
        return {}
    data = encode(
        np.concatenate(parts), codec="opus", sample_rate_hz=CLIP_RATE_HZ, bit_rate=CLIP_BIT_RATE
    )
    return {span: (n_heard, base64.b64encode(data).decode())}
