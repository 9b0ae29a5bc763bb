"""The score of pairs that a threshold is calibrated for: one class for each score.

``CosineScores`` is for extractors that tell tracks or genres apart, ``MatchScores`` for those
whose d-vectors can be aligned (``Workspace.aligns``); ``pair_scores`` picks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.calibration.thresholds import MATCH_SCORE, SCORE
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import UsageError
from auditor.evidence.alignment.ranges import WitnessTrack
from auditor.evidence.match_score import CONFIRM_FROM, match_score
from auditor.evidence.spectra.confirm import confirm
from auditor.evidence.spectra.lines import TrackSpectrum
from auditor.records import Evidence, TrackEmbedding
from auditor.scoring.track_reader import CatalogueReader
from auditor.workspace import Workspace

Progress = Callable[[int, int], None]


class PairScores(Protocol):
    """Scores of the tracks of a workspace, with each other and with copies."""

    name: str

    def matrix(self, ids: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """Return (n, n) float64, symmetric; the diagonal says nothing."""

    def of_copy(self, copy: TrackEmbedding, waveform: np.ndarray, track_id: str) -> float:
        """Return the score of a copy, (n_samples,) at 16 kHz and not stored, with a track."""


class CosineScores:
    """Cosines of track embeddings."""

    name = SCORE

    def __init__(self, workspace: Workspace) -> None:
        ids, embeddings = workspace.catalogue.embeddings(workspace.weights_id)
        self._embedding_of = dict(zip(ids, embeddings, strict=True))

    def matrix(self, ids: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """See ``PairScores``."""
        rows = np.stack([self._embedding_of[track_id] for track_id in ids])
        # float64, so that a threshold just above a score is not rounded down onto it.
        return (rows @ rows.T).astype(np.float64)

    def of_copy(self, copy: TrackEmbedding, waveform: np.ndarray, track_id: str) -> float:
        """See ``PairScores``."""
        return float(copy.embedding @ self._embedding_of[track_id])


class MatchScores:
    """Scores of the second witness and the audio; a pair takes milliseconds, so few tracks do."""

    name = MATCH_SCORE

    def __init__(self, workspace: Workspace) -> None:
        reader = CatalogueReader.of(workspace)
        self._examiner, self._spectra = reader.examiner, reader.spectrum
        self._found: dict[tuple[str, str], Evidence] = {}

    def matrix(self, ids: Sequence[str], *, progress: Progress | None = None) -> np.ndarray:
        """See ``PairScores``; evidence with ranges is kept for ``evidence``."""
        n = len(ids)
        scores = np.eye(n)
        n_done = 0
        if progress is not None:
            progress(0, n * (n - 1) // 2)
        for i, a in enumerate(ids):
            track, spectrum = self._examiner.track(a), TrackSpectrum.of(self._spectra(a))
            for j in range(i + 1, n):
                other = self._examiner.track(ids[j])
                found = self._heard(
                    track,
                    other,
                    spectrum,
                    TrackSpectrum.of(self._spectra(ids[j])),
                )
                scores[i, j] = scores[j, i] = match_score(found)
                if found.ranges:
                    self._found[a, ids[j]] = found
            n_done += n - 1 - i
            if progress is not None:
                progress(n_done, n * (n - 1) // 2)
        return scores

    def evidence(self, a: str, b: str) -> Evidence | None:
        """Return the evidence of two tracks of the last matrix; None where there is no range."""
        return self._found.get((a, b))

    def of_copy(self, copy: TrackEmbedding, waveform: np.ndarray, track_id: str) -> float:
        """See ``PairScores``."""
        duration_s = len(waveform) / SAMPLE_RATE_HZ
        track = self._examiner.prepare(copy.dvectors, copy.levels, duration_s)
        found = self._heard(
            track,
            self._examiner.track(track_id),
            TrackSpectrum(waveform_spectrum(waveform)),
            TrackSpectrum.of(self._spectra(track_id)),
        )
        return match_score(found)

    def _heard(
        self,
        a: WitnessTrack | None,
        b: WitnessTrack | None,
        of_a: TrackSpectrum | None,
        of_b: TrackSpectrum | None,
    ) -> Evidence:
        return confirm(
            self._examiner.evidence(a, b),
            of_a,
            of_b,
            a_duration_s=a.duration_s if a else 0.0,
            b_duration_s=b.duration_s if b else 0.0,
            shown_from=CONFIRM_FROM,  # as low as a threshold may be
        )


def pair_scores(workspace: Workspace, name: str = "") -> CosineScores | MatchScores:
    """Return a score by its name, or the one that decides in a workspace.

    Raises
    ------
    UsageError
        If the extractor's d-vectors cannot be aligned, which the match score needs.
    """
    if name == MATCH_SCORE and not workspace.aligns:
        raise UsageError(
            f"the extractor {workspace.extractor.name} was not trained on excerpts, so there is no "
            "match score. Give --score embedding-cosine, or another --extractor."
        )
    return MatchScores(workspace) if workspace.aligns and name != SCORE else CosineScores(workspace)
