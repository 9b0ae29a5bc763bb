"""Submissions heard at other pitches and tempos: a wider search on their side alone.

The network hears music through some five semitones and a third of the tempo.  A copy that was
moved further is moved back: its frames are taken with their bands, length and step scaled
(``FeatureConfig.retuned``), which is what resampling would give without a second waveform.  What
comes out is embedded as if it were another submission, and nothing of the catalogue changes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.isolated import IsolatedReader, hear
from auditor.embedding.config import SPECTRUM, Retuning
from auditor.embedding.embed import FrameTaker
from auditor.embedding.extractor import Extractor
from auditor.embedding.frames import FLOOR_DB, FrameStream, LogBands
from auditor.embedding.spectrogram import SpectrumStream
from auditor.records import TrackEmbedding


@dataclass(frozen=True)
class Hearing:
    """A submission heard in one way.

    Attributes
    ----------
    retuning : Retuning
    made : TrackEmbedding
    spectrum : numpy.ndarray
        (n_frames, n_bands) uint8, see ``auditor.embedding.spectrogram``.
    duration_s : float
        Seconds of sound, as the retuning's tempo has them.
    """

    retuning: Retuning
    made: TrackEmbedding
    spectrum: np.ndarray
    duration_s: float


class HearingStream:
    """Hears a waveform that arrives in blocks.

    Parameters
    ----------
    extractor : Extractor
        Its frames are of the ``log`` layout.
    retuning : Retuning
    """

    def __init__(self, extractor: Extractor, retuning: Retuning) -> None:
        features = extractor.config.features.retuned(retuning)
        n_missing = extractor.config.features.n_bands - features.n_bands
        self._missing_bands = ((0, 0), (0, n_missing))
        self._frames = FrameStream(LogBands(features))
        self._windows = FrameTaker(extractor)
        self._spectrum = SpectrumStream(SPECTRUM.retuned(retuning))
        self._retuning = retuning
        self._to_skip = round(retuning.skip_s * SAMPLE_RATE_HZ)
        self._n_samples = 0

    def feed(self, block: np.ndarray) -> None:
        """Take the next samples, (n,) float32 at 16 kHz."""
        skipped = min(self._to_skip, len(block))
        self._to_skip -= skipped
        heard = block[skipped:]
        self._n_samples += len(heard)
        if len(heard):
            self._spectrum.feed(heard)
            frames = self._frames.feed(heard)
            if frames is not None:
                all_bands = np.pad(frames, self._missing_bands, constant_values=FLOOR_DB)
                self._windows.take(all_bands)

    def finish(self) -> Hearing | None:
        """Return what was heard; None if it is too short or silent."""
        made = self._windows.finish()
        if made is None or not made.embedding.any():
            return None
        duration_s = self._n_samples / SAMPLE_RATE_HZ * self._retuning.tempo
        return Hearing(self._retuning, made, self._spectrum.spectrum(), duration_s)


def hear_file(
    path: str | bytes | os.PathLike[str], extractor: Extractor, retunings: Sequence[Retuning]
) -> tuple[Hearing, ...]:
    """Decode a file once and hear it in several ways; those it is too short for are left out.

    Parameters
    ----------
    path : path
    extractor : Extractor
        Its frames are of the ``log`` layout.
    retunings : sequence of Retuning

    Raises
    ------
    AudioError
        If the file cannot be decoded.
    """

    def listen(reader: IsolatedReader) -> tuple[Hearing, ...]:
        streams = [HearingStream(extractor, retuning) for retuning in retunings]
        for block in reader.blocks():
            for stream in streams:
                stream.feed(block)
        made = (stream.finish() for stream in streams)
        return tuple(heard for heard in made if heard is not None)

    return hear(path, listen)
