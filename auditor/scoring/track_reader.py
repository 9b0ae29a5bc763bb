"""What the second witness reads of tracks, wherever it works.

A ``TrackReader`` travels to another process as the few words that say where the tracks are, and is
opened there once.  ``CatalogueReader`` reads a workspace's own catalogue and indexes; a cluster has
another one, which reads a snapshot of them (``auditor.distributed``).
"""

from __future__ import annotations

import functools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from auditor.catalogue.catalogue import Catalogue, FileStamp
from auditor.catalogue.embedding_table import TrackTable
from auditor.catalogue.track_spectrum import read_track_spectrum
from auditor.errors import IndexFileError, show_path
from auditor.evidence.alignment.aligner import ByteCache, Examiner
from auditor.evidence.alignment.ranges import WitnessConfig
from auditor.evidence.side import Side
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.search.across import unpack_mask
from auditor.search.annoy_index import TrackIndex, open_index, refresh_index
from auditor.search.excerpts.among import excerpts_among
from auditor.search.excerpts.backends.annoy import ExcerptConfig
from auditor.search.excerpts.build import refresh_excerpts
from auditor.search.excerpts.index import ExcerptIndex, ExcerptSource, open_excerpts
from auditor.workspace import Workspace

N_CONTENTS = 4096
"""Tracks whose hash and length are kept in memory."""

N_SPECTRA = 32
"""Spectra that are kept in memory, 250 kB for four minutes each."""

SPECTRA_BYTES = 1 << 26
"""Of spectra that are kept with what was prepared of them, 1.3 MB for four minutes each."""

MIN_SCORE_TO_LIST = 0.1
"""Score of a range that the witness lists; the audio says which of the weak ones are meant."""


class Content(NamedTuple):
    """What a track's file holds: the SHA-256 of its bytes, and seconds of sound."""

    sha256: str
    duration_s: float


class TrackReader(ABC):
    """Tracks by their ids, with what was read last kept.

    Parameters
    ----------
    weights_id : str
    hop_s, window_s : float
        Step and length of the windows, in seconds.

    Attributes
    ----------
    examiner : auditor.evidence.alignment.aligner.Examiner
        The second witness of these tracks, which lists weak ranges too.
    """

    def __init__(self, weights_id: str, *, hop_s: float, window_s: float) -> None:
        self.weights_id, self.hop_s, self.window_s = weights_id, hop_s, window_s
        self.content = functools.lru_cache(maxsize=N_CONTENTS)(self._content)
        self.spectrum = functools.lru_cache(maxsize=N_SPECTRA)(self._spectrum)
        self.side = functools.lru_cache(maxsize=2)(self._side)  # pairs are sorted by a
        self._prepared_spectrum = ByteCache(
            self._prepare_spectrum,
            lambda spectrum: 0 if spectrum is None else spectrum.n_bytes,
            max_bytes=SPECTRA_BYTES,
        )
        self.excerpts_among = functools.lru_cache(maxsize=2)(self._excerpts_among)
        self.examiner = Examiner(
            lambda i: (*self.dvectors(i), self.content(i).duration_s),
            hop_s=hop_s,
            window_s=window_s,
            config=WitnessConfig(min_score=MIN_SCORE_TO_LIST),
        )

    def _side(self, track_id: str) -> Side:
        """Return a track as a side of a pair."""
        sha256, duration_s = self.content(track_id)
        return Side(
            track_id,
            sha256,
            duration_s,
            windows=lambda: self.examiner.track(track_id),
            frames=lambda: self._prepared_spectrum(track_id),
        )

    def _prepare_spectrum(self, track_id: str) -> TrackSpectrum | None:
        frames = self.spectrum(track_id)
        return None if frames is None else TrackSpectrum(frames, self.content(track_id).duration_s)

    def _excerpts_among(self, wanted: bytes) -> ExcerptIndex:
        """Return an excerpt index of some tracks, by a bit for each row (``numpy.packbits``)."""
        index, source = self.excerpts()
        mask = unpack_mask(wanted, len(index.tracks))
        return excerpts_among(index, source, mask, hop_s=self.hop_s)

    @abstractmethod
    def embeddings(self, start: int, end: int) -> np.ndarray:
        """Return the embeddings of a range of rows, (end - start, n_dims) float32."""

    @abstractmethod
    def dvectors(self, track_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Return d-vectors (n_windows, n_dims) and levels (n_windows,), float16."""

    @abstractmethod
    def excerpts(self) -> tuple[ExcerptIndex, ExcerptSource]:
        """Return the excerpt index of all tracks, and what it was opened with."""

    @abstractmethod
    def _content(self, track_id: str) -> Content:
        """Return what the file of a track holds."""

    @abstractmethod
    def _spectrum(self, track_id: str) -> np.ndarray | None:
        """Return a spectrum, (n_frames, n_bands) uint8; None where it is not to be had."""


class CatalogueReader(TrackReader):
    """Reads the catalogue of a workspace, and its indexes.

    Parameters
    ----------
    directory : pathlib.Path
        Of the workspace.
    catalogue : Catalogue
    weights_id, hop_s, window_s
        Of its extractor.
    writable : bool
        The excerpt index is brought up to date, and spectra that had to be made of the files are
        kept.
    tracks : tuple of list of str and numpy.ndarray, optional
        Ids, and embeddings (n, n_dims) float32, where they were read before.
    table : TrackTable, optional
        The same with versions and hashes; then ``tracks`` is not needed.
    backend : str, optional
        See ``Workspace.excerpt_backend``.
    """

    def __init__(
        self,
        directory: Path,
        catalogue: Catalogue,
        weights_id: str,
        *,
        hop_s: float,
        window_s: float,
        writable: bool = False,
        tracks: tuple[Sequence[str], np.ndarray] | None = None,
        table: TrackTable | None = None,
        backend: str | None = None,
    ) -> None:
        super().__init__(weights_id, hop_s=hop_s, window_s=window_s)
        self._directory, self._catalogue, self._writable = directory, catalogue, writable
        self._given, self._table, self._backend = tracks, table, backend
        self._opened: tuple[ExcerptIndex, ExcerptSource] | None = None

    @classmethod
    def of(
        cls,
        workspace: Workspace,
        tracks: tuple[Sequence[str], np.ndarray] | None = None,
        *,
        table: TrackTable | None = None,
    ) -> Self:
        """Return the reader of an open workspace."""
        return cls(
            workspace.directory,
            workspace.catalogue,
            workspace.weights_id,
            hop_s=workspace.hop_s,
            window_s=workspace.window_s,
            writable=workspace.writable,
            tracks=tracks,
            table=table,
            backend=workspace.excerpt_backend,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        where = os.path.abspath(self._directory)
        return open_catalogue_reader, (where, self.weights_id, self.hop_s, self.window_s)

    @property
    def index_directory(self) -> Path:
        """Where the indexes of the workspace lie."""
        return self._directory / "index"

    def tracks(self) -> tuple[Sequence[str], np.ndarray]:
        """Return sorted ids, one of each content, and their embeddings, (n, n_dims) float32."""
        if self._given is None:
            self._given = self.table.tracks.names(), self.table.embeddings
        return self._given

    @functools.cached_property
    def table(self) -> TrackTable:
        """The same with versions and hashes."""
        return self._table or self._catalogue.table(self.weights_id).distinct()

    def embeddings(self, start: int, end: int) -> np.ndarray:
        """See ``TrackReader``."""
        return self.tracks()[1][start:end]

    def dvectors(self, track_id: str) -> tuple[np.ndarray, np.ndarray]:
        """See ``TrackReader``."""
        return self._catalogue.dvectors(track_id, self.weights_id)

    def excerpts(self) -> tuple[ExcerptIndex, ExcerptSource]:
        """See ``TrackReader``; brought up to date where the workspace may be written to.

        Who may write reads all of it, 0.8 s a GB, and builds damaged shards anew.  Who may not, as
        a check, which has no time for it, reads small files to their end
        (``excerpt_shards.VERIFY_BYTES``) and compares the size of large ones.

        Raises
        ------
        IndexFileError
            If it cannot be written.
        """
        if self._opened is None:
            if self._table is not None:
                source = ExcerptSource.of_table(self.weights_id, self._table, self.dvectors)
            else:
                source = ExcerptSource.of(self._catalogue, self.weights_id, self.tracks())
            self._opened = self._open_excerpts(source), source
        return self._opened

    def _open_excerpts(self, source: ExcerptSource) -> ExcerptIndex:
        folder = self.index_directory / "excerpts"
        if not self._writable:
            return open_excerpts(folder, source, hop_s=self.hop_s)
        config = None if self._backend is None else ExcerptConfig(backend=self._backend)
        try:
            made = refresh_excerpts(folder, source, hop_s=self.hop_s, config=config, verify=True)
            return made.index
        except OSError as error:
            raise IndexFileError(
                f"{show_path(folder)}: the excerpt index cannot be written: "
                f"{error.strerror or error}. The catalogue is safe. Free some space or fix the "
                "permissions, then run: audit scan"
            ) from None

    def stored_spectra(self) -> set[str]:
        """Return the hashes of the contents whose spectrum is stored."""
        return self._catalogue.spectra()

    def store_spectra(self, ids: Iterable[str]) -> None:
        """Store the spectra of tracks of an older catalogue before several processes want them."""
        stored = self.stored_spectra()
        for track_id in ids:
            if self.content(track_id).sha256 not in stored:
                self.spectrum(track_id)

    def _content(self, track_id: str) -> Content:
        track = self._catalogue.track(track_id)
        return Content(track.sha256, track.duration_s)

    def _spectrum(self, track_id: str) -> np.ndarray | None:
        """Return the stored spectrum, or one made of the file, as an older catalogue needs it."""
        sha256 = self.content(track_id).sha256
        return read_track_spectrum(self._catalogue, sha256, self._files.get(track_id))

    @functools.cached_property
    def _files(self) -> dict[str, tuple[bytes, FileStamp]]:
        return self._catalogue.files()


@functools.lru_cache(maxsize=1)
def open_catalogue_reader(
    directory: str, weights_id: str, hop_s: float, window_s: float
) -> CatalogueReader:
    """Return the reader of a workspace of this machine, opened once in every process.

    Raises
    ------
    CatalogueError
        If there is no catalogue, or it is damaged.
    """
    catalogue = Catalogue.open(Path(directory) / "catalogue.sqlite3", read_only=True)
    return CatalogueReader(Path(directory), catalogue, weights_id, hop_s=hop_s, window_s=window_s)


def track_index(workspace: Workspace, ids: list[str], embeddings: np.ndarray) -> TrackIndex:
    """Open the index of embeddings, brought up to date if the workspace may be written to.

    Raises
    ------
    IndexFileError
        If there is none to read, or it cannot be written.
    """
    folder, weights_id = workspace.index_directory, workspace.weights_id
    try:
        if workspace.writable:
            return refresh_index(folder, weights_id, ids, embeddings).index
        return open_index(folder, weights_id, ids, embeddings)
    except FileNotFoundError:
        raise IndexFileError(f"{show_path(folder)} holds no index yet. Run: audit scan") from None
    except OSError as error:
        raise IndexFileError(
            f"{show_path(folder)}: the index cannot be written: {error.strerror or error}. The "
            "catalogue is safe. Free some space or fix the permissions, then run: audit scan"
        ) from None
