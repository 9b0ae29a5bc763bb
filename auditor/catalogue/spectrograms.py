"""Rows of a catalogue: the compressed spectra of its contents (``embedding.spectrogram``)."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator

import numpy as np

from auditor.errors import CatalogueError

MAX_BYTES = 1 << 28
"""Of one spectrum unpacked: some seventy hours."""

_BLOCK = 512
"""Frames that are summed up at once, 50 kB."""


def put_spectrum(
    connection: sqlite3.Connection, sha256: str, layout: str, spectrum: np.ndarray
) -> None:
    """Store (n_frames, n_bands) uint8 of a content, in place of what was there."""
    row = sha256, layout, pack_spectrum(spectrum)
    connection.execute("INSERT OR REPLACE INTO spectra VALUES (?, ?, ?)", row)


def read_spectrum(
    connection: sqlite3.Connection, sha256: str, layout: str, n_bands: int
) -> np.ndarray | None:
    """Return the spectrum of a content, None where there is none in this layout.

    Raises
    ------
    CatalogueError
        If it is damaged.
    """
    if not connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'spectra'"
    ).fetchone():
        return None
    row = connection.execute(
        "SELECT frames FROM spectra WHERE sha256 = ? AND layout = ?", (sha256, layout)
    ).fetchone()
    if row is None:
        return None
    damaged = CatalogueError(
        f"the spectrum of the content {sha256[:12]} is damaged. Run: audit catalogue verify"
    )
    try:
        return unpack_spectrum(row[0], n_bands)
    except ValueError:
        raise damaged from None


def stored_spectra(connection: sqlite3.Connection, layout: str) -> set[str]:
    """Return the hashes of the contents whose spectrum is stored in a layout."""
    try:
        rows = connection.execute("SELECT sha256 FROM spectra WHERE layout = ?", (layout,))
    except sqlite3.OperationalError:  # an older catalogue has no such table
        return set()
    return {sha256 for (sha256,) in rows}


def spectrum_problems(connection: sqlite3.Connection, layout: str, n_bands: int) -> Iterator[str]:
    """Yield the spectra that cannot be unpacked, in words for people."""
    for sha256 in sorted(stored_spectra(connection, layout)):
        try:
            read_spectrum(connection, sha256, layout, n_bands)
        except CatalogueError:
            yield (
                f"the spectrum of the content {sha256[:12]} is damaged; the next scan that needs "
                "it recomputes it. Run: audit scan"
            )


def pack_spectrum(spectrum: np.ndarray, *, level: int = 6) -> bytes:
    """Return (n_frames, n_bands) uint8 compressed; level 1 takes a third of the time of 6."""
    if spectrum.dtype != np.uint8 or spectrum.ndim != 2:
        raise ValueError(f"the spectrum is {spectrum.dtype} {spectrum.shape}; uint8, 2-d is needed")
    # Differences from frame to frame pack better, and come back exactly.
    steps = np.diff(spectrum, axis=0, prepend=np.zeros((1, spectrum.shape[1]), np.uint8))
    return zlib.compress(steps.tobytes(), level)


def unpack_spectrum(packed: object, n_bands: int) -> np.ndarray:
    """Return the spectrum, (n_frames, n_bands) uint8, that ``pack_spectrum`` packed.

    Raises
    ------
    ValueError
        If what is packed is damaged.
    """
    if not isinstance(packed, bytes):
        raise ValueError(f"the spectrum is a {type(packed).__name__}; bytes are needed")
    unpack = zlib.decompressobj()
    try:
        steps = unpack.decompress(packed, MAX_BYTES)
    except zlib.error as error:
        raise ValueError(f"the spectrum is damaged: {error}") from None
    if unpack.unconsumed_tail or not unpack.eof or len(steps) % n_bands:
        raise ValueError("the spectrum is damaged: it is cut short, or not of its bands")
    frames = np.array(np.frombuffer(steps, np.uint8)).reshape(-1, n_bands)
    for start in range(0, len(frames), _BLOCK):
        block = frames[start : start + _BLOCK]
        if start:
            block[0] += frames[start - 1]
        width = 1
        while width < len(block):  # sums of 2, 4, 8 ... steps: a third of the time of cumsum
            block[width:] += block[:-width]
            width *= 2
    return frames


def drop_unused(connection: sqlite3.Connection) -> None:
    """Drop the spectra of contents that no track has any more."""
    connection.execute("DELETE FROM spectra WHERE sha256 NOT IN (SELECT sha256 FROM tracks)")
