"""The spectrum of a track: the stored one, or one that is computed from its file.

A catalogue of an older version has no spectra, and a stored one may be damaged.
"""

from __future__ import annotations

import contextlib

import numpy as np

from auditor.audio.files import look_at
from auditor.audio.object_store import fetched
from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.errors import AuditError, CatalogueError


def read_track_spectrum(
    catalogue: Catalogue, sha256: str, file: tuple[bytes, FileStamp] | None
) -> np.ndarray | None:
    """Return the spectrum of a content, stored if the catalogue may be written to.

    Parameters
    ----------
    catalogue : Catalogue
    sha256 : str
        Of the content.
    file : tuple of bytes and FileStamp, optional
        Path or URL of a file with that content, and its stamp when it was scanned.

    Returns
    -------
    numpy.ndarray or None
        (n_frames, n_bands) uint8; None if none is stored and the file is gone or has changed.
    """
    with contextlib.suppress(CatalogueError):  # a damaged one is computed again
        stored = catalogue.spectrum(sha256)
        if stored is not None:
            return stored
    if file is None:
        return None
    from auditor.embedding.spectrogram import file_spectrum

    path, stamp = file
    with contextlib.suppress(AuditError, OSError):
        with fetched(path, size=stamp.size) as local:
            computed = file_spectrum(local)
        if FileStamp.of(look_at(path)) == stamp:  # it still holds what was scanned
            if catalogue.writable:
                catalogue.store_spectrum(sha256, computed)
            return computed
    return None
