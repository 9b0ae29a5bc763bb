"""Pictures of how alike two tracks are from moment to moment, as small greyscale PNGs.

A copy shows as a dark line that falls to the right, a loop as several of them.  The writer covers
the one kind of PNG that is needed here: grey of four bits a pixel, without filters (Portable
Network Graphics Specification, W3C, 2003, https://www.w3.org/TR/2003/REC-PNG-20031110/).
"""

from __future__ import annotations

import math
import struct
import zlib

import numpy as np

MAX_SIDE = 300
"""Most pixels of a matrix in either direction."""

_MAX_CELLS = 16_000_000
_BLOCK = 256
_WHITE = 15


def grey_png(pixels: np.ndarray) -> bytes:
    """Write a picture as a PNG of 16 greys.

    Parameters
    ----------
    pixels : numpy.ndarray
        (n_rows, n_columns) uint8, 0 (black) to 15 (white).

    Returns
    -------
    bytes
        A whole file, the same for the same pixels.

    Raises
    ------
    ValueError
        If there are no pixels, or one is above 15.

    Examples
    --------
    >>> grey_png(np.zeros((2, 3), dtype=np.uint8))[1:4]
    b'PNG'
    """
    pixels = np.asarray(pixels)
    if pixels.ndim != 2 or pixels.size == 0 or pixels.dtype != np.uint8 or pixels.max() > _WHITE:
        raise ValueError(
            f"pixels are {pixels.dtype} of shape {pixels.shape}; rows and columns of uint8 from "
            f"0 to {_WHITE} are needed"
        )
    n_rows, n_columns = pixels.shape
    even = np.zeros((n_rows, n_columns + n_columns % 2), dtype=np.uint8)
    even[:, :n_columns] = pixels
    lines = np.zeros((n_rows, 1 + even.shape[1] // 2), dtype=np.uint8)  # 0: the line is unfiltered
    lines[:, 1:] = even[:, ::2] << 4 | even[:, 1::2]
    header = struct.pack(">IIBBBBB", n_columns, n_rows, 4, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def similarity_pixels(a: np.ndarray, b: np.ndarray, *, hop_s: float, window_s: float) -> np.ndarray:
    """Return how alike two tracks are at each pair of moments, as greys.

    Time is even along both sides: a pixel shows the windows whose centres lie in it, the most
    alike of them where they are several, and the nearest window where there is none, at the ends.
    Of long tracks only some windows of the longer one are compared, but all of the other, so that
    no line is lost.

    Parameters
    ----------
    a, b : numpy.ndarray
        (n_windows, n_dims) float unit d-vectors; a window of zeros, a silent one, stays white.
    hop_s, window_s : float
        Step between windows, and their length, in seconds.

    Returns
    -------
    numpy.ndarray
        (n_rows, n_columns) uint8 with time of a downwards and of b rightwards, ``MAX_SIDE`` each
        at most; 15 (white) is a cosine of 0 or less, 0 (black) is 1.

    Raises
    ------
    ValueError
        If a track has no windows, the dimensions differ, or a time is not above 0.
    """
    if a.ndim != 2 or b.ndim != 2 or not len(a) or not len(b) or a.shape[1] != b.shape[1]:
        raise ValueError(f"d-vectors have shapes {a.shape} and {b.shape}; rows that fit are needed")
    if not (hop_s > 0 and window_s > 0):
        raise ValueError(f"hop_s is {hop_s}, window_s {window_s}; both must be above 0")
    kept_a, kept_b = _kept_windows(len(a), len(b))
    first_a = _first_windows(kept_a, len(a), hop_s, window_s)
    first_b = _first_windows(kept_b, len(b), hop_s, window_s)
    columns = b[kept_b].astype(np.float32).T
    pooled = np.empty((len(kept_a), len(first_b)), dtype=np.float32)
    for start in range(0, len(kept_a), _BLOCK):
        rows = a[kept_a[start : start + _BLOCK]].astype(np.float32)
        pooled[start : start + _BLOCK] = np.maximum.reduceat(rows @ columns, first_b, axis=1)
    alike = np.clip(np.nan_to_num(np.maximum.reduceat(pooled, first_a, axis=0)), 0.0, 1.0)
    return (_WHITE - np.rint(_WHITE * alike)).astype(np.uint8)


def span_s(n_windows: int, *, hop_s: float, window_s: float) -> float:
    """Return the seconds from the start of the first window to the end of the last.

    Examples
    --------
    >>> span_s(3, hop_s=1.0, window_s=4.0)
    6.0
    """
    return (n_windows - 1) * hop_s + window_s


def _kept_windows(n_a: int, n_b: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which windows of either track are compared: all, unless they are too many pairs."""
    longer, shorter = max(n_a, n_b), min(n_a, n_b)
    n_longer = min(longer, max(MAX_SIDE, _MAX_CELLS // shorter))
    n_shorter = min(shorter, max(MAX_SIDE, _MAX_CELLS // n_longer))
    kept = [np.arange(n) * of // n for n, of in ((n_longer, longer), (n_shorter, shorter))]
    return (kept[0], kept[1]) if n_a >= n_b else (kept[1], kept[0])


def _first_windows(kept: np.ndarray, n_windows: int, hop_s: float, window_s: float) -> np.ndarray:
    """Return for each pixel along a side the place, among those kept, of its first window."""
    whole_s = span_s(n_windows, hop_s=hop_s, window_s=window_s)
    n_hops = whole_s / hop_s
    n_pixels = max(1, round(n_hops / math.ceil(n_hops / MAX_SIDE)))
    starts_s = np.arange(n_pixels) * whole_s / n_pixels
    # Centres tend to fall on the edges of pixels: a quarter of a hop keeps rounding out of it.
    centres_s = (kept + 0.25) * hop_s + window_s / 2.0
    return np.minimum(np.searchsorted(centres_s, starts_s), len(kept) - 1)
