"""What an extractor is: its frames, its network, and how a track is cut into windows for it."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

from auditor.audio import SAMPLE_RATE_HZ
from auditor.serialisation import check_range

DEFAULT_EXTRACTOR = "excerpt"
"""The pretrained extractor that every command uses if none is named."""

PADDED_S = 0.25
"""A track may fall short of one window by this much, in seconds."""

GPU_BATCH = 512
"""Windows per GPU batch, unless told otherwise."""

PRECISIONS = ("float32", "bfloat16")
"""Arithmetic of the convolutions and the LSTM in inference; the first is the default."""


def float32_weights_id(weights_id: str) -> str:
    """Return the id of the same weights with float32 arithmetic (see ``Extractor.weights_id``).

    Examples
    --------
    >>> float32_weights_id("ece99d6cbfloat16"), float32_weights_id("ece99d6c")
    ('ece99d6c', 'ece99d6c')
    """
    return weights_id.removesuffix("bfloat16")


@dataclass(frozen=True)
class Retuning:
    """A pitch and tempo that a submission may have been moved to: heard so, it is moved back.

    Attributes
    ----------
    semitones : float
        By which the submission is believed to be higher than its original.
    tempo : float
        Seconds of the original that pass in one second of the submission.
    skip_s : float
        What is left out at its start, so that its windows begin between those heard otherwise.
    """

    semitones: float = 0.0
    tempo: float = 1.0
    skip_s: float = 0.0

    @property
    def pitch(self) -> float:
        """Ratio of the frequencies."""
        return 2.0 ** (self.semitones / 12.0)


_FAR = 1.6
"""The network was trained on 5 semitones and tempos of 1.4: 8 semitones away it hears the rest."""

WIDE_RETUNINGS = tuple(
    Retuning(12.0 * math.log2(pitch), tempo)
    for far in (_FAR, 1.0 / _FAR)
    for pitch, tempo in ((far, 1.0), (1.0, far), (far, far))
)
"""Pitch alone, tempo alone, and both by one speed, either way: from half to twice of each."""

SHORT_S, _BETWEEN_S = 15.0, 0.4
"""A submission so short has windows between those of a hop of 0.8 s, too."""


def wide_retunings(duration_s: float) -> tuple[Retuning, ...]:
    """Return how a submission of so many seconds is heard besides as it is.

    Examples
    --------
    >>> len(wide_retunings(60.0)), len(wide_retunings(5.0))
    (6, 7)
    """
    between = (Retuning(skip_s=_BETWEEN_S),) if duration_s <= SHORT_S else ()
    return (*WIDE_RETUNINGS, *between)


@dataclass(frozen=True)
class FeatureConfig:
    """Layout of the log-power frames; part of every extractor's config.

    Attributes
    ----------
    layout : "mel" or "log"
        ``mel`` is the paper's bank of triangles on the mel scale; ``log`` has a constant number of
        bands per octave, so that a pitch shift is a translation along the band axis.
    n_bands : int
        Number of bands.
    f_min_hz : float
        Centre of the lowest band (``log``) or lower edge of the bank (``mel``), in hertz.
    bands_per_octave : int
        Only for ``log``.
    frame_s, frame_hop_s : float
        Length and step of one STFT frame, in seconds.
    n_fft : int
        FFT length; the frame is zero-padded to it.
    """

    layout: str = "log"
    n_bands: int = 72
    f_min_hz: float = 110.0
    bands_per_octave: int = 12
    frame_s: float = 0.025
    frame_hop_s: float = 0.010
    n_fft: int = 512

    def __post_init__(self) -> None:
        if self.layout not in ("mel", "log"):
            raise ValueError(f"layout is {self.layout!r}; it must be 'mel' or 'log'")
        check_range("n_bands", self.n_bands, 8, 512)
        check_range("f_min_hz", self.f_min_hz, 0.0 if self.layout == "mel" else 20.0, 4000.0)
        check_range("bands_per_octave", self.bands_per_octave, 4, 96)
        check_range("frame_s", self.frame_s, 0.005, 0.5)
        check_range("frame_hop_s", self.frame_hop_s, 0.001, min(0.25, self.frame_s))
        check_range("n_fft", self.n_fft, round(self.frame_s * SAMPLE_RATE_HZ), 16384)
        if self.layout == "log" and self.f_top_hz > SAMPLE_RATE_HZ / 2:
            raise ValueError(
                f"the top band is centred on {self.f_top_hz:.0f} Hz; it must stay below "
                f"{SAMPLE_RATE_HZ // 2} Hz"
            )

    def retuned(self, retuning: Retuning) -> FeatureConfig:
        """Return the frames that hear music as it was before its pitch and tempo were changed.

        Bands, frames and steps are moved and scaled, which is what resampling would do.  Bands that
        would lie above half of the sample rate are left out, so there may be fewer; the layout is
        ``log``.

        Examples
        --------
        >>> half = FeatureConfig().retuned(Retuning(-12.0, 0.5))
        >>> half.f_min_hz, half.frame_length, half.frame_hop, half.n_fft
        (55.0, 800, 320, 1024)
        """
        if retuning.pitch == 1.0 and retuning.tempo == 1.0:
            return self
        f_min_hz = self.f_min_hz * retuning.pitch
        octaves = math.log2(0.98 * SAMPLE_RATE_HZ / 2 / f_min_hz)
        hop = round(self.frame_hop / retuning.tempo)
        length = round(self.frame_length / retuning.pitch)
        return dataclasses.replace(
            self,
            n_bands=min(self.n_bands, math.floor(octaves * self.bands_per_octave) + 1),
            f_min_hz=f_min_hz,
            frame_s=max(length, hop) / SAMPLE_RATE_HZ,
            frame_hop_s=hop / SAMPLE_RATE_HZ,
            n_fft=max(2 * round(0.5 * self.n_fft / retuning.pitch), length, hop),
        )

    @property
    def f_top_hz(self) -> float:
        """Centre of the top band of the ``log`` layout, in hertz."""
        return self.f_min_hz * 2.0 ** ((self.n_bands - 1) / self.bands_per_octave)

    @property
    def frame_length(self) -> int:
        """Samples in one frame."""
        return round(self.frame_s * SAMPLE_RATE_HZ)

    @property
    def frame_hop(self) -> int:
        """Samples between the starts of two frames."""
        return round(self.frame_hop_s * SAMPLE_RATE_HZ)


SPECTRUM = FeatureConfig(
    n_bands=100, f_min_hz=220.0, bands_per_octave=24, frame_s=0.192, frame_hop_s=0.096, n_fft=4096
)
"""Frames that are kept of every track (``embedding.spectrogram``): half a semitone a band, 220 Hz
to 3.8 kHz; chosen on the validation music (docs/method.md)."""

SPECTRUM_LAYOUT = "log100x24-96ms/1"
"""Names those frames where they are stored; frames of another layout are made anew."""


N_PITCH_COLUMNS = 37
"""Of a row of pitches: 12 pitch classes of melody, of bass and of all, and the melody's pitch."""

PITCH_STEP_S = 4 * SPECTRUM.frame_hop_s
"""Seconds from one row of pitches to the next: four frames of the stored spectrum."""


@dataclass(frozen=True)
class ExtractorConfig:
    """Shape of one GE2E d-vector network, and how a track is cut into windows for it.

    Attributes
    ----------
    features : FeatureConfig
        What the network is fed.
    window_frames, hop_frames : int
        Length of a window, the same in training and embedding, and the step between windows.
    conv_channels : tuple of int
        Output channels of the strided convolutions in front of the LSTM, each halving bands and
        frames; empty for the plain network of the paper.
    lstm_size, lstm_layers : int
        Width and depth of the LSTM.
    n_dims : int
        Length of a d-vector.
    pooling : "last" or "mean"
        Which LSTM output is projected: that of the last frame (the paper) or the mean over time.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    window_frames: int = 160
    hop_frames: int = 80
    conv_channels: tuple[int, ...] = (32, 64, 96)
    lstm_size: int = 256
    lstm_layers: int = 1
    n_dims: int = 256
    pooling: str = "last"

    def __post_init__(self) -> None:
        check_range("window_frames", self.window_frames, 16, 4096)
        check_range("hop_frames", self.hop_frames, 1, self.window_frames)
        check_range("number of convolutions", len(self.conv_channels), 0, 5)
        for channels in self.conv_channels:
            check_range("conv_channels", channels, 1, 1024)
        check_range("lstm_size", self.lstm_size, 8, 2048)
        check_range("lstm_layers", self.lstm_layers, 1, 6)
        check_range("n_dims", self.n_dims, 8, 2048)
        if self.pooling not in ("last", "mean"):
            raise ValueError(f"pooling is {self.pooling!r}; it must be 'last' or 'mean'")

    @property
    def window_s(self) -> float:
        """Length of a window in seconds: the steps of its frames, without the last frame's tail."""
        return self.window_frames * self.features.frame_hop_s

    @property
    def is_log(self) -> bool:
        """Whether a change of pitch is a translation of its frames."""
        return self.features.layout == "log"

    @property
    def hop_s(self) -> float:
        """Step between windows, in seconds."""
        return self.hop_frames * self.features.frame_hop_s


PAPER = ExtractorConfig(
    features=FeatureConfig(layout="mel", n_bands=40, f_min_hz=0.0),
    conv_channels=(),
    lstm_size=768,
    lstm_layers=3,
)
"""The network of Wan, Wang, Papir and Moreno (2018, arXiv:1710.10467), 3 x 768 to 256."""
