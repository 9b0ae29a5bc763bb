"""Decoded frames to mono at one rate.

Channels are averaged before resampling: FFmpeg's own float down-mix is 3 dB louder than the mean of
the channels, and knows no mix at all for unusual layouts.

The mean of two channels is silent where one is the inverse of the other: a cable that swaps
polarity, a singer removed, an attempt to evade.  And samples may be scaled by any factor.
``Mixer`` measures both while it averages.  Where the mean does not stand for what is heard,
``Mixer.better`` names the ``Mix`` that does, and the file is decoded once more with it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import av
import numpy as np

from auditor.audio.facts import MEAN, Channels, Mix

_SAMPLE_LIMIT = 8.0

_INVERTED = 3.0
"""Power of the side of a whole file, as a multiple of that of the mean, from which one channel is
taken for inverted.  Of 113 files of the validation music the widest reaches 2.3."""

_CANCELS = 0.05
"""Power of the mean, as a share of what uncorrelated channels leave, below which it cancels."""

_CANCELLED_S = 4.0
"""Seconds that cancel, in all, from which the mean is not used for them."""

_QUIET_PEAK = 2.0**-7
"""A file whose highest peak is below is raised, or its soft parts would count as silence."""

_LEAST_PEAK, _LEAST_FLOAT_PEAK = 2.0**-13, 2.0**-20
"""Peaks below are noise of 16-bit samples; those of samples stored as floats may be music."""

_RAISED_PEAK = 0.5


class Mixer:
    """Brings the channels of decoded samples to one, and measures whether their mean is a good mix.

    Of any other mix nothing is measured: it is the better one.

    Parameters
    ----------
    mix : Mix
    """

    def __init__(self, mix: Mix = MEAN) -> None:
        self.mixing = mix
        self._power_of_mean = self._power_of_side = 0.0
        self._peak_of_mean = self._peak_of_side = self._peak = 0.0
        self._cancelled_s = 0.0
        self._has_side = False

    def mix(
        self, samples: np.ndarray, sample_format: str, n_channels: int, rate_hz: int
    ) -> np.ndarray:
        """Return decoded samples as one channel.

        Parameters
        ----------
        samples : numpy.ndarray
            As ``av.AudioFrame.to_ndarray`` gives them: (n_channels, n) for planar formats,
            (1, n * n_channels) for packed ones.
        sample_format : str
            FFmpeg's name, such as ``s16`` or ``fltp``.
        n_channels, rate_hz : int
            Channels, and samples a second of each.

        Returns
        -------
        numpy.ndarray
            (n,) float32 with full scale at 1, in [-8, 8]; what is not finite becomes 0.
        """
        if not sample_format.endswith("p"):
            samples = samples.reshape(-1, n_channels).T
        gain = 2.0**self.mixing.gain_log2
        if samples.dtype.kind == "f":
            samples = self._in_range(samples, gain)
        mixed = mean = _to_mono(samples)
        if len(mean):
            if self.mixing == MEAN:
                self._peak_of_mean = max(self._peak_of_mean, _half_range(mean))
            if n_channels > 1 and (self.mixing == MEAN or self.mixing.channels != "mean"):
                mixed = self._without_cancelling(samples, mean, rate_hz)
        if samples.dtype.kind != "f" and gain != 1.0:
            mixed = np.clip(mixed * np.float32(gain), -_SAMPLE_LIMIT, _SAMPLE_LIMIT)
        return mixed

    def better(self, *, stored_as_float: bool) -> Mix | None:
        """Return the mix that stands for what was heard, None where the mean does.

        Parameters
        ----------
        stored_as_float : bool
            Whether the file holds its samples as floats, so that very small ones are no noise.
        """
        if self.mixing != MEAN:
            return None
        channels: Channels = "mean"
        peak = self._peak_of_mean
        if self._has_side and self._power_of_side > _INVERTED * self._power_of_mean:
            channels, peak = "side", self._peak_of_side
        elif self._cancelled_s >= _CANCELLED_S:
            channels = "side where the mean cancels"
            if not self._has_side:
                channels = "loudest where the mean cancels"
            peak = max(peak, self._peak_of_side)
        gain = 0
        least = _LEAST_FLOAT_PEAK if stored_as_float else _LEAST_PEAK
        if self._peak > _SAMPLE_LIMIT:
            gain = math.floor(math.log2(_RAISED_PEAK / self._peak))
        elif least <= peak < _QUIET_PEAK:
            gain = math.floor(math.log2(_RAISED_PEAK / peak))
        found = Mix(channels, gain)
        return None if found == MEAN else found

    def _in_range(self, samples: np.ndarray, gain: float) -> np.ndarray:
        """Return float samples within the limit; note how far they went beyond it."""
        # False of what is not a number, too; most files are spared the copies.
        if gain == 1.0 and samples.size:
            low, high = samples.min(), samples.max()
            if low >= -_SAMPLE_LIMIT and high <= _SAMPLE_LIMIT:
                return samples
        samples = np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0)
        if samples.size and self.mixing == MEAN:
            self._peak = max(self._peak, float(np.abs(samples).max()))
        return np.clip(samples * samples.dtype.type(gain), -_SAMPLE_LIMIT, _SAMPLE_LIMIT)

    def _without_cancelling(
        self, samples: np.ndarray, mean: np.ndarray, rate_hz: int
    ) -> np.ndarray:
        """Return the mix of some seconds of several channels; measure them where it is the mean."""
        wanted = self.mixing.channels
        if len(samples) == 2:
            other = _to_mono(samples[:1]) - mean  # left less mean is half of left less right
            if wanted == "side":
                return other
            power = _power(other)
        else:
            powers = [_power(_to_mono(samples[i : i + 1])) for i in range(len(samples))]
            loudest = int(np.argmax(powers))
            other = _to_mono(samples[loudest : loudest + 1])
            if wanted == "side":
                return other
            power = sum(powers) / len(samples) ** 2
        power_of_mean = _power(mean)
        cancels = power_of_mean < _CANCELS * power
        if self.mixing != MEAN:
            return other if cancels else mean
        self._power_of_mean += power_of_mean
        if len(samples) == 2:
            self._has_side = True
            self._power_of_side += power
        if cancels:
            self._cancelled_s += len(mean) / rate_hz
        if cancels or len(samples) == 2:
            self._peak_of_side = max(self._peak_of_side, _half_range(other))
        return mean


def _to_mono(channels: np.ndarray) -> np.ndarray:
    """Return the mean of channels, (n_channels, n), as (n,) float32 with full scale at 1."""
    if channels.dtype.kind == "f":
        return _mean(channels, np.float32)
    mean = _mean(channels, np.float32 if channels.itemsize < 4 else np.float64)
    if channels.dtype == np.uint8:
        return ((mean - 128.0) / 128.0).astype(np.float32)
    return (mean / -float(np.iinfo(channels.dtype).min)).astype(np.float32)


def _power(mono: np.ndarray) -> float:
    """Return the sum of squares of samples, less what a constant adds."""
    return max(0.0, float(np.dot(mono, mono)) - float(mono.sum(dtype=np.float64)) ** 2 / len(mono))


def _half_range(mono: np.ndarray) -> float:
    """Return the peak of samples, less what a constant adds."""
    return 0.5 * float(mono.max() - mono.min())


def _mean(channels: np.ndarray, dtype: type[np.floating]) -> np.ndarray:
    """Return the mean over the first axis; of interleaved samples ten times as fast as NumPy's."""
    total = channels[0].astype(dtype)
    for channel in channels[1:]:
        total += channel
    total /= dtype(len(channels))
    return total


def resample(
    batches: Iterable[tuple[int, np.ndarray]], sample_rate_hz: int
) -> Iterator[np.ndarray]:
    """Bring batches of mono samples to one rate, as one stream while their rate stays.

    Parameters
    ----------
    batches : iterable of (int, numpy.ndarray)
        Rate in hertz and (n,) float32 samples.
    sample_rate_hz : int
        Rate wanted.

    Yields
    ------
    numpy.ndarray
        (m,) float32.
    """
    rate_hz: int | None = None
    resampler: av.AudioResampler | None = None
    for batch_rate_hz, mono in batches:
        if batch_rate_hz != rate_hz:
            if resampler is not None:
                yield from _drain(resampler, None)
            rate_hz = batch_rate_hz
            resampler = av.AudioResampler("fltp", "mono", sample_rate_hz)
        if rate_hz == sample_rate_hz:
            yield mono
            continue
        assert resampler is not None
        yield from _drain(resampler, _mono_frame(mono, batch_rate_hz))
    if resampler is not None:
        yield from _drain(resampler, None)


def _mono_frame(mono: np.ndarray, rate_hz: int) -> av.AudioFrame:
    frame = av.AudioFrame.from_ndarray(mono[np.newaxis], format="fltp", layout="mono")
    frame.sample_rate = rate_hz
    return frame


def _drain(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> Iterator[np.ndarray]:
    for ready in resampler.resample(frame):
        yield ready.to_ndarray()[0]
