"""Log-power band frames, defined once for training and for audit.

A waveform becomes one column of band powers (dB) every 10 ms: the power spectrogram (Hann window
of 25 ms) times a bank of filters, either the mel triangles of the GE2E paper or a
log-frequency bank with a constant number of bands per octave, where a pitch shift is a translation.
Frames become windows, and each window is normalised by itself, so that a quieter copy of a track
has the same windows.

References
----------
Wan, Wang, Papir, Moreno (2018), "Generalized end-to-end loss for speaker verification",
arXiv:1710.10467, section 3 (40 log-mel bands, 25 ms frames, 10 ms hop).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from auditor.audio import SAMPLE_RATE_HZ
from auditor.embedding.config import PADDED_S, ExtractorConfig, FeatureConfig

FLOOR_DB = -120.0
"""Band power of digital silence, in dB; see ``LogBands`` for what 0 dB is."""

WINDOW_RANGE_DB = 60.0
"""Within a window, whatever lies further than this below its loudest band is set to that depth."""

_LEAST_POWER = np.float32(10.0 ** (FLOOR_DB / 10.0 - 1.0))
_SAMPLES_AT_ONCE, _MIN_ROWS = 1 << 16, 8
"""Frames are transformed so many at a time that they stay in the cache."""


class LogBands:
    """Turn a waveform into frames of band power in dB.

    0 dB is the power that a full-scale sine leaves in the one FFT bin it is centred on.  What a
    band reads depends on its layout.  ``log`` bands are weighted means of bin powers: a full-scale
    sine reads less than 0 dB, and the less the wider the band, while white noise reads the same in
    all bands.  ``mel`` bands are weighted sums of bin powers: a full-scale sine may read a few dB
    above 0, and white noise rises with the width of the bands.

    A frame is the same to the bit wherever the waveform is cut: each is a product of its own with
    the bank.  In a product of many, what a row is depends on its place, with some processors.

    It computes in buffers of its own, so it may be called by one thread at a time.

    Parameters
    ----------
    config : FeatureConfig
        Layout of the bands and frames.
    """

    def __init__(self, config: FeatureConfig) -> None:
        self.config = config
        make_bank = mel_filter_bank if config.layout == "mel" else log_filter_bank
        # Hann, periodic, in the middle of the FFT's span
        turns = np.arange(config.frame_length) / config.frame_length
        self._window = (0.5 - 0.5 * np.cos(2.0 * np.pi * turns)).astype(np.float32)
        self._first = (config.n_fft - config.frame_length) // 2
        full_scale = float(self._window.sum(dtype=np.float64) / 2.0) ** 2
        bank = make_bank(config) / np.float32(full_scale)
        n_read = np.flatnonzero(bank.any(axis=1))[-1] + 1  # no band reads the bins above
        self._bank = np.ascontiguousarray(bank[:n_read])
        rows = max(_MIN_ROWS, _SAMPLES_AT_ONCE // config.n_fft)
        self._padded = np.zeros((rows, config.n_fft), np.float32)
        self._spectrum = np.zeros((rows, config.n_fft // 2 + 1), np.complex64)
        self._power = np.zeros((rows, n_read), np.float32)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Return the frames that lie wholly inside the waveform.

        Parameters
        ----------
        waveform : numpy.ndarray
            (n_samples,) float32 in [-1, 1] at 16 kHz, at least ``n_fft`` samples.

        Returns
        -------
        numpy.ndarray
            (n_frames, n_bands) float32, dB as the class defines it, at least ``FLOOR_DB``.
            Frame i is centred ``(i * frame_hop + n_fft / 2) / 16000`` seconds into the waveform.
        """
        size, first, n_rows = len(self._window), self._first, len(self._power)
        hop, n_fft = self.config.frame_hop, self.config.n_fft
        n_frames = 1 + (len(waveform) - n_fft) // hop
        frames = sliding_window_view(waveform, size)[first::hop]
        bands = np.empty((n_frames, self.config.n_bands), np.float32)
        for start in range(0, n_frames, n_rows):
            n = min(n_rows, n_frames - start)
            part = frames[start : start + n]
            np.multiply(part, self._window, out=self._padded[:n, first : first + size])
            np.fft.rfft(self._padded[:n], axis=1, out=self._spectrum[:n])  # type: ignore[arg-type]  # numpy computes it in float32
            squares = self._spectrum[:n].view(np.float32)[:, : 2 * len(self._bank)]
            squares *= squares
            np.add(squares[:, ::2], squares[:, 1::2], out=self._power[:n])
            np.matmul(self._power[:n, None], self._bank, out=bands[start : start + n, None])
        np.maximum(bands, _LEAST_POWER, out=bands)
        np.log10(bands, out=bands)
        bands *= np.float32(10.0)
        return np.maximum(bands, np.float32(FLOOR_DB), out=bands)


def log_filter_bank(config: FeatureConfig) -> np.ndarray:
    """Return the log-frequency filter bank.

    Each band is a triangle that reaches to its neighbours' centres, or, where those lie closer
    together than the bins of the FFT, an interpolation between two bins.

    Returns
    -------
    numpy.ndarray
        (n_fft // 2 + 1, n_bands) float32; each column sums to 1.
    """
    bins_hz = np.arange(config.n_fft // 2 + 1) * SAMPLE_RATE_HZ / config.n_fft
    steps = np.arange(config.n_bands) / config.bands_per_octave
    centres_hz = config.f_min_hz * 2.0**steps
    half_width_hz = np.maximum(
        centres_hz * (2.0 ** (1.0 / config.bands_per_octave) - 1.0), SAMPLE_RATE_HZ / config.n_fft
    )
    bank = 1.0 - np.abs(bins_hz[:, None] - centres_hz) / half_width_hz
    bank = np.clip(bank, 0.0, None)
    return (bank / bank.sum(axis=0)).astype(np.float32)


def mel_filter_bank(config: FeatureConfig) -> np.ndarray:
    """Return the bank of triangles that are equally wide on the mel scale (O'Shaughnessy 1987).

    Returns
    -------
    numpy.ndarray
        (n_fft // 2 + 1, n_bands) float32; the peak of each column is 1.
    """
    bins_hz = np.arange(config.n_fft // 2 + 1) * SAMPLE_RATE_HZ / config.n_fft
    low, high = (
        2595.0 * np.log10(1.0 + hz / 700.0) for hz in (config.f_min_hz, SAMPLE_RATE_HZ / 2)
    )
    mels = np.linspace(low, high, config.n_bands + 2)
    edges_hz = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    rising = (bins_hz[:, None] - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz[:, None]) / np.diff(edges_hz)[1:]
    return np.clip(np.minimum(rising, falling), 0.0, None).astype(np.float32)


def stream_frames(blocks: Iterable[np.ndarray], bands: LogBands) -> Iterator[np.ndarray]:
    """Yield the frames of a waveform that arrives in blocks.

    The frames are those of the whole waveform at once, wherever the blocks are cut; what is held
    at a time is one block and one FFT length.

    Parameters
    ----------
    blocks : iterable of numpy.ndarray
        (n,) float32 each.
    bands : LogBands

    Yields
    ------
    numpy.ndarray
        (n_frames, n_bands) float32, dB; never empty.
    """
    stream = FrameStream(bands)
    for block in blocks:
        frames = stream.feed(block)
        if frames is not None:
            yield frames


class FrameStream:
    """Makes the frames of a waveform that is fed in blocks; see ``stream_frames``.

    Parameters
    ----------
    bands : LogBands
    """

    def __init__(self, bands: LogBands) -> None:
        self._bands = bands
        self._rest = np.zeros(0, dtype=np.float32)

    def feed(self, block: np.ndarray) -> np.ndarray | None:
        """Take (n,) float32 samples; return the frames they complete, None if there is none."""
        config = self._bands.config
        samples = np.concatenate([self._rest, block])
        n_frames = 1 + (len(samples) - config.n_fft) // config.frame_hop
        if n_frames < 1:
            self._rest = samples
            return None
        used = (n_frames - 1) * config.frame_hop + config.n_fft
        self._rest = samples[n_frames * config.frame_hop :]
        return self._bands(samples[:used])


class WindowCutter:
    """Cut frames that arrive in pieces into batches of windows.

    The windows are those of the whole track at once, wherever the pieces are cut.  A last window is
    moved back so that it ends with the last frame: nothing of a track is left out.  A track that
    falls short of one window by at most ``PADDED_S`` is padded with its own end, mirrored; a
    shorter one has no window.

    Parameters
    ----------
    config : ExtractorConfig
        Gives the window and the hop.
    batch : int
        Windows handed out at a time; only the last batch is smaller.
    """

    def __init__(self, config: ExtractorConfig, *, batch: int) -> None:
        self.size, self.hop, self.batch = config.window_frames, config.hop_frames, batch
        self.short = round(PADDED_S / config.features.frame_hop_s)
        self._held: list[np.ndarray] = []
        self._n_held = 0
        self._next = 0  # where the next window begins in what is held; 0 only for the first

    def feed(self, frames: np.ndarray) -> Iterator[np.ndarray]:
        """Take (n, n_bands) frames; yield every full batch, (batch, window_frames, n_bands)."""
        self._held.append(frames)
        self._n_held += len(frames)
        span = (self.batch - 1) * self.hop + self.size
        while self._n_held >= self._next + span:
            held = np.concatenate(self._held)
            yield self._cut(held[self._next : self._next + span])
            # The last window handed out stays held: finish() may need its frames.
            held = held[self._next + (self.batch - 1) * self.hop :]
            self._held, self._n_held, self._next = [held], len(held), self.hop

    def finish(self) -> Iterator[np.ndarray]:
        """Yield the windows that are left, in batches."""
        if not self._held:
            return
        held = np.concatenate(self._held)
        missing = self.size - len(held)
        if 0 < missing <= min(self.short, len(held)):
            held = np.concatenate([held, held[-missing:][::-1]])
        rest = held[self._next :]
        windows = [self._cut(rest)] if len(rest) >= self.size else []
        n_unseen = len(rest) - self.size if windows else len(rest) - (self.size - self.hop)
        if len(held) >= self.size and n_unseen > 0 and (not windows or n_unseen % self.hop):
            windows.append(held[None, -self.size :])
        if windows:
            joined = np.concatenate(windows)
            for start in range(0, len(joined), self.batch):
                yield joined[start : start + self.batch]

    def _cut(self, stretch: np.ndarray) -> np.ndarray:
        windows = sliding_window_view(stretch, self.size, axis=0)[:: self.hop]
        return windows.transpose(0, 2, 1)


def window_levels(windows: np.ndarray) -> np.ndarray:
    """Return the loudest band power of each window.

    Parameters
    ----------
    windows : numpy.ndarray
        (n_windows, window_frames, n_bands), dB.

    Returns
    -------
    numpy.ndarray
        (n_windows,), dB.
    """
    return windows.max(axis=(1, 2))


def normalise_windows(windows: np.ndarray) -> np.ndarray:
    """Make windows independent of level: clip to the top 60 dB, zero mean, unit deviation.

    Parameters
    ----------
    windows : numpy.ndarray
        (n_windows, window_frames, n_bands), dB.

    Returns
    -------
    numpy.ndarray
        Same shape; all zeros where a window is constant (digital silence).
    """
    top = windows.max(axis=(1, 2), keepdims=True)
    x = np.maximum(windows, top - np.float32(WINDOW_RANGE_DB))
    x -= x.mean(axis=(1, 2), keepdims=True)
    # A window whose powers all lie within a few dB is noise: its deviation is not blown up to 1.
    deviation = np.sqrt(np.square(x).mean(axis=(1, 2), keepdims=True))
    x /= np.maximum(deviation, np.float32(1.0))
    return x
