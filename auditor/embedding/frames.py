"""Log-power band frames, defined once for training and for audit.

A waveform becomes one column of band powers (dB) every 10 ms: torchaudio's power spectrogram
(Hann window of 25 ms) times a bank of filters, either the mel triangles of the GE2E paper or a
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
import torch

from auditor.audio import SAMPLE_RATE_HZ
from auditor.embedding.config import PADDED_S, ExtractorConfig, FeatureConfig
from auditor.embedding.torch_audio import transforms

FLOOR_DB = -120.0
"""Band power of digital silence, in dB; see ``LogBands`` for what 0 dB is."""

WINDOW_RANGE_DB = 60.0
"""Within a window, whatever lies further than this below its loudest band is set to that depth."""


class LogBands(torch.nn.Module):
    """Turn a waveform into frames of band power in dB.

    0 dB is the power that a full-scale sine leaves in the one FFT bin it is centred on.  What a
    band reads depends on its layout.  ``log`` bands are weighted means of bin powers: a full-scale
    sine reads less than 0 dB, and the less the wider the band, while white noise reads the same in
    all bands.  ``mel`` bands are weighted sums of bin powers, as torchaudio's are: a full-scale
    sine may read a few dB above 0, and white noise rises with the width of the bands.

    Parameters
    ----------
    config : FeatureConfig
        Layout of the bands and frames.
    """

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        tools = transforms()
        self.spectrogram = tools.Spectrogram(
            n_fft=config.n_fft,
            win_length=config.frame_length,
            hop_length=config.frame_hop,
            center=False,
            power=None,
        )
        if config.layout == "mel":
            bank = tools.MelScale(
                n_mels=config.n_bands,
                sample_rate=SAMPLE_RATE_HZ,
                f_min=config.f_min_hz,
                n_stft=config.n_fft // 2 + 1,
            ).fb
        else:
            bank = torch.from_numpy(log_filter_bank(config))
        full_scale = float(torch.hann_window(config.frame_length).sum() / 2) ** 2
        self.register_buffer("bank", bank.to(torch.float32) / full_scale, persistent=False)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """Return the frames that lie wholly inside the waveform.

        Parameters
        ----------
        waveform : torch.Tensor
            (n_samples,) float32 in [-1, 1] at 16 kHz, at least ``n_fft`` samples.

        Returns
        -------
        torch.Tensor
            (n_frames, n_bands) float32, dB as the class defines it, at least ``FLOOR_DB``.
            Frame i is centred ``(i * frame_hop + n_fft / 2) / 16000`` seconds into the waveform.
        """
        spectrum = self.spectrogram(waveform)  # (n_fft // 2 + 1, n_frames), complex
        power = spectrum.real.square() + spectrum.imag.square()  # no root, to be squared again
        bands = power.T @ self.bank  # (n_frames, n_bands)
        return 10.0 * torch.log10(bands.clamp_min(10.0 ** (FLOOR_DB / 10.0)))


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


def stream_frames(blocks: Iterable[np.ndarray], bands: LogBands) -> Iterator[torch.Tensor]:
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
    torch.Tensor
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

    def feed(self, block: np.ndarray) -> torch.Tensor | None:
        """Take (n,) float32 samples; return the frames they complete, None if there is none."""
        config = self._bands.config
        samples = np.concatenate([self._rest, block])
        n_frames = 1 + (len(samples) - config.n_fft) // config.frame_hop
        if n_frames < 1:
            self._rest = samples
            return None
        used = (n_frames - 1) * config.frame_hop + config.n_fft
        self._rest = samples[n_frames * config.frame_hop :]
        with torch.inference_mode():
            return self._bands(torch.from_numpy(samples[:used]))


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
        self._held: list[torch.Tensor] = []
        self._n_held = 0
        self._next = 0  # where the next window begins in what is held; 0 only for the first

    def feed(self, frames: torch.Tensor) -> Iterator[torch.Tensor]:
        """Take (n, n_bands) frames; yield every full batch, (batch, window_frames, n_bands)."""
        self._held.append(frames)
        self._n_held += len(frames)
        span = (self.batch - 1) * self.hop + self.size
        while self._n_held >= self._next + span:
            held = torch.cat(self._held)
            yield self._cut(held[self._next : self._next + span])
            # The last window handed out stays held: finish() may need its frames.
            held = held[self._next + (self.batch - 1) * self.hop :]
            self._held, self._n_held, self._next = [held], len(held), self.hop

    def finish(self) -> Iterator[torch.Tensor]:
        """Yield the windows that are left, in batches."""
        if not self._held:
            return
        held = torch.cat(self._held)
        missing = self.size - len(held)
        if 0 < missing <= min(self.short, len(held)):
            held = torch.cat([held, held[-missing:].flip(0)])
        rest = held[self._next :]
        windows = [self._cut(rest)] if len(rest) >= self.size else []
        n_unseen = len(rest) - self.size if windows else len(rest) - (self.size - self.hop)
        if len(held) >= self.size and n_unseen > 0 and (not windows or n_unseen % self.hop):
            windows.append(held[None, -self.size :])
        if windows:
            yield from torch.cat(windows).split(self.batch)

    def _cut(self, stretch: torch.Tensor) -> torch.Tensor:
        return stretch.unfold(0, self.size, self.hop).transpose(1, 2)


def window_levels(windows: torch.Tensor) -> torch.Tensor:
    """Return the loudest band power of each window.

    Parameters
    ----------
    windows : torch.Tensor
        (n_windows, window_frames, n_bands), dB.

    Returns
    -------
    torch.Tensor
        (n_windows,), dB.
    """
    return windows.amax(dim=(1, 2))


def normalise_windows(windows: torch.Tensor) -> torch.Tensor:
    """Make windows independent of level: clip to the top 60 dB, zero mean, unit deviation.

    Parameters
    ----------
    windows : torch.Tensor
        (n_windows, window_frames, n_bands), dB.

    Returns
    -------
    torch.Tensor
        Same shape; all zeros where a window is constant (digital silence).
    """
    top = windows.amax(dim=(1, 2), keepdim=True)
    clipped = torch.maximum(windows, top - WINDOW_RANGE_DB)
    centred = clipped - clipped.mean(dim=(1, 2), keepdim=True)
    # A window whose powers all lie within a few dB is noise: its deviation is not blown up to 1.
    deviation = centred.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp_min(1.0)
    return centred / deviation
