"""Files to d-vectors and track embeddings.

A track is decoded once, in blocks; its frames go to every extractor asked for; its windows are
embedded in batches.  Memory does not grow with the length of the track beyond its d-vectors in
float16 (2.3 MB an hour at 256 dimensions and a hop of 0.8 s, held twice when they are joined).  The
embedding is the normalised mean of the d-vectors of audible windows (``pooling``), and can be made
again from those that are stored.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.facts import AudioInfo
from auditor.audio.isolated import IsolatedReader, hear
from auditor.embedding.config import PADDED_S, ExtractorConfig, FeatureConfig
from auditor.embedding.extractor import Extractor
from auditor.embedding.frames import (
    LogBands,
    WindowCutter,
    normalise_windows,
    stream_frames,
    window_levels,
)
from auditor.embedding.pooling import pool_dvectors
from auditor.embedding.spectrogram import SpectrumStream
from auditor.errors import TooShortError, show_path
from auditor.records import TrackEmbedding

T = TypeVar("T")

BATCH = 64
"""Windows embedded at a time, at most."""

PAD_TO = 8
"""The last batch of a track is padded to a multiple of this, so that few sizes of batch occur."""

STAGES = ("decode", "spectrum", "features", "extractor")
"""What the time of embedding a file is told by."""


@dataclass(frozen=True)
class EmbeddedFile:
    """One decoded and embedded file.

    Attributes
    ----------
    info : AudioInfo
        What the file says of itself.
    duration_s : float
        Seconds decoded.
    truncated, silent : bool
        See ``records.Track``.
    embeddings : dict
        Weights id to ``TrackEmbedding``.
    seconds : dict
        Where the time went, by ``STAGES``.
    spectrum : numpy.ndarray
        (n_frames, n_bands) uint8, see ``auditor.embedding.spectrogram``.
    """

    info: AudioInfo
    duration_s: float
    truncated: bool
    silent: bool
    embeddings: dict[str, TrackEmbedding]
    seconds: dict[str, float]
    spectrum: np.ndarray


@dataclass(frozen=True)
class DecodedFile:
    """One decoded file that is yet to be embedded; fields as in ``EmbeddedFile``.

    Attributes
    ----------
    frames : numpy.ndarray
        (n_frames, n_bands) float32, dB.
    """

    info: AudioInfo
    duration_s: float
    truncated: bool
    frames: np.ndarray
    seconds: dict[str, float]
    spectrum: np.ndarray


def embed_windows(extractor: Extractor, windows: np.ndarray, *, batch: int = BATCH) -> np.ndarray:
    """Return the d-vectors of windows.

    Parameters
    ----------
    extractor : Extractor
    windows : numpy.ndarray
        (n, window_frames, n_bands) float32, dB, not normalised.
    batch : int
        Windows that go through the network at once.  It changes a d-vector by rounding only.

    Returns
    -------
    numpy.ndarray
        (n, n_dims) float32, unit norm.
    """
    dvectors = np.empty((len(windows), extractor.config.n_dims), np.float32)
    for start in range(0, len(windows), batch):
        part = normalise_windows(windows[start : start + batch])
        n = len(part)
        if n % PAD_TO:
            part = np.pad(part, ((0, -n % PAD_TO), (0, 0), (0, 0)))
        dvectors[start : start + n] = extractor(part)[:n]
    return dvectors


def embed_file(
    path: str | bytes | os.PathLike[str], extractors: Sequence[Extractor]
) -> EmbeddedFile:
    """Decode a file once and embed it by every extractor.

    Parameters
    ----------
    path : path
    extractors : sequence of Extractor
        All of one feature config share its frames.

    Returns
    -------
    EmbeddedFile

    Raises
    ------
    AudioError
        If the file cannot be decoded or is shorter than one window.
    ValueError
        If no extractor is given.
    """
    return hear(path, lambda reader: _embed(reader, show_path(path), extractors))


def _embed(reader: IsolatedReader, name: str, extractors: Sequence[Extractor]) -> EmbeddedFile:
    seconds = dict.fromkeys(STAGES, 0.0)
    stream = SpectrumStream()
    blocks = _timed(reader.blocks(), seconds, "decode")
    embeddings = _embed_blocks(_with_spectrum(blocks, stream, seconds), extractors, seconds)
    if not embeddings:
        raise too_short(name, reader.duration_s, extractors)
    silent = not any(e.embedding.any() for e in embeddings.values())
    return EmbeddedFile(
        reader.info,
        reader.duration_s,
        reader.truncated,
        silent,
        embeddings,
        seconds,
        stream.spectrum(),
    )


def decode_file(
    path: str | bytes | os.PathLike[str], features: FeatureConfig, *, max_s: float
) -> DecodedFile | None:
    """Decode a file into frames, for an extractor that works elsewhere.

    Returns
    -------
    DecodedFile or None
        None if the file is longer than ``max_s`` seconds: its frames would fill the memory.

    Raises
    ------
    AudioError
        If the file cannot be decoded.
    """

    def listen(reader: IsolatedReader) -> DecodedFile | None:
        seconds = dict.fromkeys(STAGES, 0.0)
        stream, bands = SpectrumStream(), LogBands(features)
        parts = [np.zeros((0, features.n_bands), np.float32)]
        blocks = _with_spectrum(_timed(reader.blocks(), seconds, "decode"), stream, seconds)
        for frames in _timed(stream_frames(blocks, bands), seconds, "features"):
            parts.append(frames)
            if reader.duration_s > max_s:
                return None
        seconds["features"] -= seconds["decode"] + seconds["spectrum"]
        return DecodedFile(
            reader.info,
            reader.duration_s,
            reader.truncated,
            np.concatenate(parts),
            seconds,
            stream.spectrum(),
        )

    return hear(path, listen)


def embed_waveform(
    waveform: np.ndarray, extractors: Sequence[Extractor]
) -> dict[str, TrackEmbedding]:
    """Embed a waveform by every extractor.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n_samples,) float32 mono at 16 kHz.
    extractors : sequence of Extractor
        All of one feature config.

    Returns
    -------
    dict
        Weights id to ``TrackEmbedding``.

    Raises
    ------
    AudioError
        If it is shorter than one window.
    """
    embeddings = _embed_blocks([waveform], extractors, dict.fromkeys(STAGES, 0.0))
    if not embeddings:
        raise too_short("the waveform", len(waveform) / SAMPLE_RATE_HZ, extractors)
    return embeddings


def too_short(name: str, duration_s: float, extractors: Sequence[Extractor]) -> TooShortError:
    """Return the error of a file that has no window."""
    needed_s = max(shortest_s(extractor.config) for extractor in extractors)
    return TooShortError(
        f"{name}: {duration_s:.2f} s of audio; at least {needed_s:.2f} s are needed. "
        "Give a longer excerpt."
    )


def _embed_blocks(
    blocks: Iterable[np.ndarray], extractors: Sequence[Extractor], seconds: dict[str, float]
) -> dict[str, TrackEmbedding]:
    """Return the embeddings by weights id; an empty dict if there is less than one window."""
    if not extractors:
        raise ValueError("no extractor was given")
    if len({extractor.config.features for extractor in extractors}) > 1:
        raise ValueError("the extractors have different feature configs; embed by one at a time")
    bands = LogBands(extractors[0].config.features)
    takers = [FrameTaker(extractor) for extractor in extractors]
    for frames in _timed(stream_frames(blocks, bands), seconds, "features"):
        started = time.perf_counter()
        for taker in takers:
            taker.take(frames)
        seconds["extractor"] += time.perf_counter() - started
    # The frames were timed with the decoding that feeds them.
    seconds["features"] -= seconds["decode"] + seconds["spectrum"]
    started = time.perf_counter()
    made = [taker.finish() for taker in takers]
    seconds["extractor"] += time.perf_counter() - started
    embeddings = {
        extractor.weights_id: one
        for extractor, one in zip(extractors, made, strict=True)
        if one is not None
    }
    return embeddings if len(embeddings) == len(extractors) else {}


class FrameTaker:
    """Embeds the windows of frames that arrive in pieces.

    Parameters
    ----------
    extractor : Extractor
    """

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._cutter = WindowCutter(extractor.config, batch=BATCH)
        # Growing buffers: many small arrays that stay would scatter over the heap of a long file.
        self._dvectors, self._levels = bytearray(), bytearray()

    def take(self, frames: np.ndarray) -> None:
        """Take the next frames, (n, n_bands), dB."""
        self._embed(self._cutter.feed(frames))

    def finish(self) -> TrackEmbedding | None:
        """Return the embedding of all frames; None if there is less than one window."""
        self._embed(self._cutter.finish())
        if not self._dvectors:
            return None
        return pool_dvectors(
            np.frombuffer(self._dvectors, np.float16).reshape(-1, self._extractor.config.n_dims),
            np.frombuffer(self._levels, np.float32),
        )

    def _embed(self, batches: Iterable[np.ndarray]) -> None:
        for windows in batches:
            made = embed_windows(self._extractor, windows)
            self._dvectors += made.astype(np.float16).tobytes()
            self._levels += window_levels(windows).tobytes()


def shortest_s(config: ExtractorConfig) -> float:
    """Return the length of the shortest track that has a window, in seconds, rounded up."""
    features = config.features
    n_frames = config.window_frames - round(PADDED_S / features.frame_hop_s)
    n_frames = max(n_frames, (config.window_frames + 1) // 2)  # what is mirrored must be there
    n_samples = (n_frames - 1) * features.frame_hop + features.n_fft
    return math.ceil(n_samples / SAMPLE_RATE_HZ * 100.0) / 100.0


def _with_spectrum(
    blocks: Iterable[np.ndarray], stream: SpectrumStream, seconds: dict[str, float]
) -> Iterator[np.ndarray]:
    for block in blocks:
        started = time.perf_counter()
        stream.feed(block)
        seconds["spectrum"] += time.perf_counter() - started
        yield block


def _timed(items: Iterable[T], seconds: dict[str, float], key: str) -> Iterator[T]:
    iterator = iter(items)
    while True:
        started = time.perf_counter()
        item = next(iterator, None)
        seconds[key] += time.perf_counter() - started
        if item is None:
            return
        yield item
