"""Configurations: frozen dataclasses that travel as JSON inside weights and threshold files.

JSON comes from strangers, so ``from_json`` accepts exactly the fields of the dataclass, of exactly
their types, within their stated ranges; anything else is a ``ValueError`` that names the field.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

SAMPLE_RATE_HZ = 16_000
"""Every waveform inside the package is mono float32 at this rate, in hertz."""

DEFAULT_EXTRACTOR = "excerpt"
"""The pretrained extractor that every command uses if none is named."""

PRECISIONS = ("float32", "bfloat16")
"""Arithmetic of the convolutions and the LSTM in inference; the first is the default."""

SCORES = ("match", "embedding-cosine")
"""What can be calibrated: the score that flags pairs, where the extractor's d-vectors can be
aligned; and the cosine of the embeddings, by which they sound alike, or else are flagged."""


def float32_weights_id(weights_id: str) -> str:
    """Return the id of the same weights with float32 arithmetic (see ``Extractor.weights_id``).

    Examples
    --------
    >>> float32_weights_id("ece99d6cbfloat16"), float32_weights_id("ece99d6c")
    ('ece99d6c', 'ece99d6c')
    """
    return weights_id.removesuffix("bfloat16")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not (low <= value <= high):
        raise ValueError(f"{name} is {value}; it must lie between {low} and {high}")


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
        _check_range("n_bands", self.n_bands, 8, 512)
        _check_range("f_min_hz", self.f_min_hz, 0.0 if self.layout == "mel" else 20.0, 4000.0)
        _check_range("bands_per_octave", self.bands_per_octave, 4, 96)
        _check_range("frame_s", self.frame_s, 0.005, 0.2)
        _check_range("frame_hop_s", self.frame_hop_s, 0.001, min(0.1, self.frame_s))
        _check_range("n_fft", self.n_fft, round(self.frame_s * SAMPLE_RATE_HZ), 16384)
        if self.layout == "log" and self.f_top_hz > SAMPLE_RATE_HZ / 2:
            raise ValueError(
                f"the top band is centred on {self.f_top_hz:.0f} Hz; it must stay below "
                f"{SAMPLE_RATE_HZ // 2} Hz"
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
"""Frames that are kept of every track (``auditor.spectrum``): half a semitone a band, 220 Hz to
3.8 kHz; chosen on the validation music (docs/method.md)."""

SPECTRUM_LAYOUT = "log100x24-96ms/1"
"""Names those frames where they are stored; frames of another layout are made anew."""


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
        _check_range("window_frames", self.window_frames, 16, 4096)
        _check_range("hop_frames", self.hop_frames, 1, self.window_frames)
        _check_range("number of convolutions", len(self.conv_channels), 0, 5)
        for channels in self.conv_channels:
            _check_range("conv_channels", channels, 1, 1024)
        _check_range("lstm_size", self.lstm_size, 8, 2048)
        _check_range("lstm_layers", self.lstm_layers, 1, 6)
        _check_range("n_dims", self.n_dims, 8, 2048)
        if self.pooling not in ("last", "mean"):
            raise ValueError(f"pooling is {self.pooling!r}; it must be 'last' or 'mean'")

    @property
    def window_s(self) -> float:
        """Length of a window, in seconds, from the first frame's start to the last one's end."""
        features = self.features
        return (self.window_frames - 1) * features.frame_hop_s + features.frame_s

    @property
    def hop_s(self) -> float:
        """Step between windows, in seconds."""
        return self.hop_frames * self.features.frame_hop_s


@dataclass(frozen=True)
class TrainConfig:
    """How an extractor is trained.

    Attributes
    ----------
    classes : "track", "genre" or "excerpt"
        What the GE2E loss calls a class.
    n_classes, n_utterances : int
        N and M of a batch.
    n_steps : int
        Batches in all; the learning rate follows a cosine over them.
    learning_rate : float
        Of AdamW, at its highest, after ``warmup_steps``.
    clip_norm : float
        Gradients are scaled down to this norm.
    scale, offset : float
        Starting w and b of the loss.
    jitter_s : float
        Windows move by up to this much either way, in seconds.
    evaluate_every, patience : int
        Steps between validations; validations without improvement before an early stop.
    precision : "bfloat16" or "float32"
        Of the arithmetic inside the network; weights and loss are float32 in either case.  A
        processor that cannot train in bfloat16 trains in float32.
    seed : int
        Of everything that chance decides.
    start : str
        Hash of the weights that training starts from; empty for random ones.
    """

    classes: str = "track"
    n_classes: int = 48
    n_utterances: int = 4
    n_steps: int = 4000
    learning_rate: float = 1e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    clip_norm: float = 3.0
    scale: float = 10.0
    offset: float = -5.0
    jitter_s: float = 0.5
    evaluate_every: int = 250
    patience: int = 8
    precision: str = "bfloat16"
    seed: int = 0
    start: str = ""

    def __post_init__(self) -> None:
        if self.classes not in ("track", "genre", "excerpt"):
            raise ValueError(f"classes is {self.classes!r}; it must be track, genre or excerpt")
        if self.precision not in ("bfloat16", "float32"):
            raise ValueError(f"precision is {self.precision!r}; it must be bfloat16 or float32")
        _check_range("n_classes", self.n_classes, 2, 4096)
        _check_range("n_utterances", self.n_utterances, 2, 256)
        _check_range("n_steps", self.n_steps, 1, 10_000_000)
        _check_range("learning_rate", self.learning_rate, 1e-8, 1.0)
        _check_range("warmup_steps", self.warmup_steps, 0, 10_000_000)
        _check_range("weight_decay", self.weight_decay, 0.0, 10.0)
        _check_range("clip_norm", self.clip_norm, 1e-6, 1e6)
        _check_range("scale", self.scale, 1e-3, 1e3)
        _check_range("jitter_s", self.jitter_s, 0.0, 60.0)
        _check_range("evaluate_every", self.evaluate_every, 1, 10_000_000)
        _check_range("patience", self.patience, 1, 10_000_000)
        _check_range("seed", self.seed, 0, 2**31 - 1)


PAPER = ExtractorConfig(
    features=FeatureConfig(layout="mel", n_bands=40, f_min_hz=0.0),
    conv_channels=(),
    lstm_size=768,
    lstm_layers=3,
)
"""The network of Wan, Wang, Papir and Moreno (2018, arXiv:1710.10467), 3 x 768 to 256."""


def to_json(config: Any) -> dict[str, Any]:
    """Return a dataclass as plain JSON types."""
    return dataclasses.asdict(config)


def from_json(cls: type[T], data: object, *, where: str = "config") -> T:
    """Build a dataclass from untrusted JSON.

    Parameters
    ----------
    cls : type
        A dataclass whose fields are int, float, bool, str, None, tuples, dicts or dataclasses.
    data : object
        What ``json.loads`` returned.
    where : str
        Name of the thing in error messages.

    Raises
    ------
    ValueError
        If a field is unknown, missing, of another type or out of range.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where} is a {type(data).__name__}; an object was expected")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    if unknown := sorted(set(data) - set(fields), key=str):
        raise ValueError(f"{where} has the unknown field {unknown[0]!r:.60}")
    values: dict[str, Any] = {}
    for name, spec in fields.items():
        if name in data:
            values[name] = _convert(hints[name], data[name], f"{where}.{name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where} lacks the field {name!r}")
    return cls(**values)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        return _convert(next(a for a in args if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint):
        return from_json(hint, value, where=where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, (list, tuple)):
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
        if len(args) == len(value):
            pairs = zip(args, value, strict=True)
            return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(pairs))
    elif origin is dict and isinstance(value, dict):
        return {str(k): _convert(args[1], v, f"{where}.{k}") for k, v in value.items()}
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
        raise ValueError(f"{where} is {number}; a finite number was expected")
    elif isinstance(hint, type) and type(value) is hint:
        return value
    raise ValueError(f"{where} is {value!r:.60}; {getattr(hint, '__name__', hint)} was expected")
