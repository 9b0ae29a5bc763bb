"""The spectrum of a track, coarse enough to be kept beside its d-vectors.

D-vectors tell which stretch of one track may be heard in another; whether it is, and at which pitch
and tempo, the spectra say (``auditor.evidence.spectra.pitch_tempo``).  They are kept in the
catalogue, so that a pair can be examined when its audio is out of reach, and in milliseconds: half
a semitone a band, one frame every 96 ms, whole decibels in a byte each; some 60 kB a minute,
compressed to two thirds of it.
"""

from __future__ import annotations

import os

import numpy as np

from auditor.audio.isolated import IsolatedReader, hear
from auditor.embedding.config import SPECTRUM, FeatureConfig
from auditor.embedding.frames import FrameStream, LogBands

_FLOOR_DB = -160.0


class SpectrumStream:
    """Takes the spectrum of a waveform that arrives in blocks.

    Parameters
    ----------
    features : FeatureConfig
        ``SPECTRUM``, or its retuned frames, which must have as many bands.
    """

    def __init__(self, features: FeatureConfig = SPECTRUM) -> None:
        self._stream = FrameStream(LogBands(features))
        # One growing buffer: many small arrays that stay would scatter over the heap.
        self._packed = bytearray()

    def feed(self, block: np.ndarray) -> None:
        """Take the next samples, (n,) float32 at 16 kHz."""
        frames = self._stream.feed(block)
        if frames is not None:
            self._packed += pack_frames(frames).tobytes()

    def spectrum(self) -> np.ndarray:
        """Return what came so far, (n_frames, n_bands) uint8."""
        return np.array(np.frombuffer(self._packed, np.uint8)).reshape(-1, SPECTRUM.n_bands)


def waveform_spectrum(waveform: np.ndarray) -> np.ndarray:
    """Return the spectrum of a waveform, (n_frames, n_bands) uint8; no frame if it is too short."""
    stream = SpectrumStream()
    stream.feed(waveform.astype(np.float32))
    return stream.spectrum()


def file_spectrum(path: str | bytes | os.PathLike[str]) -> np.ndarray:
    """Decode a file into its spectrum, (n_frames, n_bands) uint8.

    Raises
    ------
    AudioError
        If it cannot be decoded.
    """

    def listen(reader: IsolatedReader) -> np.ndarray:
        stream = SpectrumStream()
        for block in reader.blocks():
            stream.feed(block)
        return stream.spectrum()

    return hear(path, listen)


def pack_frames(frames: np.ndarray) -> np.ndarray:
    """Return frames in dB as whole decibels above the floor, uint8."""
    return np.clip(np.round(frames - _FLOOR_DB), 0, 255).astype(np.uint8)


def unpack_frames(spectrum: np.ndarray) -> np.ndarray:
    """Return stored frames in dB, float32: the inverse of ``pack_frames``."""
    return spectrum.astype(np.float32) + np.float32(_FLOOR_DB)


def cut_spectrum(spectrum: np.ndarray, start_s: float, end_s: float) -> np.ndarray:
    """Return the frames from a time to another, (n_frames, n_bands) float32, dB.

    Parameters
    ----------
    spectrum : numpy.ndarray
        (n_frames, n_bands) uint8.
    start_s, end_s : float
        In seconds; what lies outside the track is left out.
    """
    first, last = (max(0, round(s / SPECTRUM.frame_hop_s)) for s in (start_s, end_s))
    return unpack_frames(spectrum[first:last])
