"""What is said of decoded audio.

It stands apart from the decoders, so that the process which asks for audio does not import them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Channels = Literal["mean", "side", "side where the mean cancels", "loudest where the mean cancels"]
"""Side is half the difference of two channels, loudest the channel of most power."""


@dataclass(frozen=True)
class Mix:
    """How the channels of a file become one.

    Attributes
    ----------
    channels : Channels
    gain_log2 : int
        Samples are multiplied by two to the power of this.
    """

    channels: Channels = "mean"
    gain_log2: int = 0

    def __str__(self) -> str:
        """Return what differs from the mean, for people; empty for the mean itself.

        Examples
        --------
        >>> str(Mix("side", 14)), str(Mix())
        ('side, 84 dB louder', '')
        """
        level_db = round(20.0 * math.log10(2.0) * self.gain_log2)
        louder = f"{abs(level_db)} dB {'louder' if level_db > 0 else 'softer'}" if level_db else ""
        named = "" if self.channels == "mean" else self.channels
        return ", ".join(part for part in (named, louder) if part)


MEAN = Mix()
"""How ordinary files are mixed."""


@dataclass(frozen=True)
class AudioInfo:
    """What a file says of itself.

    Attributes
    ----------
    declared_s : float or None
        Seconds that the header promises; None where the container has no such header.
    codec, container : str
        FFmpeg's names; of the codec, not of its decoder: ``mp3``, not ``mp3float``.
    sample_rate_hz, n_channels : int
        Before conversion.
    bit_rate : int or None
        Bits per second, None if unknown.
    parts_s : tuple of float
        Where a file has several audio streams, or an Ogg file streams of several kinds one after
        the other: seconds of each, in the order in which they are decoded.  Else empty.
    downmix : str
        How the channels became one where that was not by their mean; else empty.
    """

    declared_s: float | None
    codec: str
    container: str
    sample_rate_hz: int
    n_channels: int
    bit_rate: int | None
    parts_s: tuple[float, ...] = ()
    downmix: str = ""


def check_blocks(block_s: float, sample_rate_hz: int) -> None:
    """Raise ValueError unless blocks can have this length and rate."""
    if block_s <= 0 or sample_rate_hz <= 0:
        raise ValueError(
            f"block_s is {block_s}, sample_rate_hz {sample_rate_hz}; both must be above 0"
        )
