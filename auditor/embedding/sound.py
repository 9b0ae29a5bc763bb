"""What a track sounds like: one vector from what a catalogue stores of it anyway.

The embedding of the default extractor says which passages are the same, not which tracks are alike.
Here it is one of seven groups of statistics; the others come from the stored spectrum
(``embedding.spectrogram``): the shape of the spectrum and how it varies, from frame to frame and at
the rates of beats and bars, how far partials stand out, and which intervals sound together.  None
depends on the level.  They are whitened by their covariance within albums and styles: what differs
between tracks of one kind counts for little (Hatch, Kajarekar, Stolcke 2006, "Within-class
covariance normalization for SVM-based speaker recognition").  No torch is needed; how the matrix
was chosen and trained: ``benchmarks/sound_training.py``, ``docs/decisions/0012-sound.md``.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from auditor.embedding.config import SPECTRUM
from auditor.errors import WeightsError, show_path
from auditor.serialisation import (
    parse_json,
    read_bytes,
    tensors_metadata,
    with_sorted_header,
    write_weights,
)

N_CEPSTRA = 30
"""Coefficients that describe the shape of a spectrum."""

N_MODULATED = 10
"""Groups of bands whose changes in time are measured."""

MODULATION_FRAMES = 64
"""Frames that these changes are measured over: 6 s."""

MODULATION_EDGES = (1, 2, 3, 5, 8, 11, 15, 20, 26, 33)
"""Bins of that Fourier transform between which power is summed: 0.16 to 5.2 Hz."""

FORMAT = "audit-sound-1"
DIRECTORY = Path(__file__).parents[1] / "pretrained" / "sound"
MIN_FRAMES = 8
MAX_BYTES = 1 << 26
_AUDIBLE_DB, _RANGE_DB, _CLIP = 50.0, 70.0, 4.0
_OCTAVE = SPECTRUM.bands_per_octave


@functools.cache
def _cosines() -> np.ndarray:
    """Return the first vectors of the orthonormal DCT-II, (n_bands, N_CEPSTRA) float32."""
    n = SPECTRUM.n_bands
    angles = np.pi / n * (np.arange(n)[:, None] + 0.5) * np.arange(N_CEPSTRA)
    scale = np.where(np.arange(N_CEPSTRA) == 0, np.sqrt(1.0 / n), np.sqrt(2.0 / n))
    return (np.cos(angles) * scale).astype(np.float32)


def sound_statistics(embedding: np.ndarray, spectrum: np.ndarray) -> dict[str, np.ndarray]:
    """Return the statistics of a track by group.

    Parameters
    ----------
    embedding : numpy.ndarray
        (n_dims,) float32, by the default extractor.
    spectrum : numpy.ndarray
        (n_frames, n_bands) uint8; at least ``MIN_FRAMES``.

    Returns
    -------
    dict
        (n,) float32 each: ``embedding``, ``shape``, ``variety``, ``motion``, ``contrast``,
        ``rhythm`` and ``harmony``.

    Raises
    ------
    ValueError
        If there are too few frames, or of other bands.
    """
    if len(spectrum) < MIN_FRAMES or spectrum.shape[1:] != (SPECTRUM.n_bands,):
        raise ValueError(f"the spectrum has shape {spectrum.shape}")
    frames = spectrum.astype(np.float32)
    loudest = frames.max(axis=1)
    audible = loudest >= loudest.max() - _AUDIBLE_DB
    frames = np.maximum(frames, loudest.max() - _RANGE_DB)
    cepstra = frames @ (_cosines() / 10.0)
    heard = frames[audible]
    steps = np.diff(cepstra, axis=0)[audible[1:] & audible[:-1]]
    if not len(steps):
        steps = np.zeros((1, N_CEPSTRA), np.float32)
    groups = {
        "embedding": embedding,
        "shape": cepstra[audible, 1:].mean(axis=0),
        "variety": np.log(cepstra[audible].std(axis=0) + 0.05),
        "motion": np.log(np.sqrt((steps**2).mean(axis=0)) + 0.05),
        "contrast": _contrast(heard),
        "rhythm": _rhythm(frames),
        "harmony": _harmony(heard),
    }
    return {name: np.asarray(values, np.float32) for name, values in groups.items()}


def _contrast(heard: np.ndarray) -> np.ndarray:
    """Return how far the loud bands of each octave stand above the quiet ones, and the mean."""
    octaves = heard[:, : SPECTRUM.n_bands // _OCTAVE * _OCTAVE].reshape(len(heard), -1, _OCTAVE)
    ordered = np.sort(octaves, axis=2)
    range_db = ordered[:, :, -5:].mean(axis=2) - ordered[:, :, :5].mean(axis=2)
    peak_db = ordered[:, :, -2:].mean(axis=2) - octaves.mean(axis=2)
    both = np.concatenate([range_db, peak_db], axis=1) / 10.0
    return np.concatenate([both.mean(axis=0), both.std(axis=0)])


def _rhythm(frames: np.ndarray) -> np.ndarray:
    """Return the power of changes in time by group of bands and rate, in logarithms."""
    n, short = MODULATION_FRAMES, max(0, MODULATION_FRAMES - len(frames))
    groups = frames.reshape(len(frames), N_MODULATED, -1).mean(axis=2) / 10.0
    groups = np.pad(groups, ((0, short), (0, 0)), "edge")
    starts = range(0, len(groups) - n + 1, n // 2)
    window = np.hanning(n).astype(np.float32)[:, None]
    power = np.zeros((n // 2 + 1, N_MODULATED))
    for start in starts:
        part = groups[start : start + n]
        power += np.abs(np.fft.rfft((part - part.mean(axis=0)) * window, axis=0)) ** 2
    power /= len(starts)
    rates = [power[a:b].mean(axis=0) for a, b in itertools.pairwise(MODULATION_EDGES)]
    return np.log(np.stack(rates) + 0.01).ravel()


def _harmony(heard: np.ndarray) -> np.ndarray:
    """Return which intervals sound in any key, and how concentrated and fast pitch classes are."""
    n_bands = SPECTRUM.n_bands // _OCTAVE * _OCTAVE
    sums = np.pad(np.cumsum(heard, axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    band = np.arange(n_bands)
    low, high = np.maximum(0, band - 6), np.minimum(SPECTRUM.n_bands, band + 7)
    around = (sums[:, high] - sums[:, low]) / (high - low)
    above = np.maximum(heard[:, :n_bands] - around, 0.0)
    fine = above.reshape(len(heard), -1, _OCTAVE).sum(axis=1)
    between = fine[:, 1::2]
    classes = fine[:, ::2] + 0.5 * (between + np.roll(between, 1, axis=1))
    classes /= classes.sum(axis=1, keepdims=True) + 1e-6
    mean = classes.mean(axis=0)
    entropy = -(classes * np.log(classes + 1e-9)).sum(axis=1)
    change = np.abs(np.diff(classes, axis=0)).sum(axis=1).mean() if len(classes) > 1 else 0.0
    tuning = abs(np.log((fine[:, ::2].sum() + 1.0) / (between.sum() + 1.0)))
    whole = -(mean * np.log(mean + 1e-9)).sum()
    return np.concatenate(
        [
            np.abs(np.fft.fft(mean))[1:7],
            np.abs(np.fft.fft(classes, axis=1))[:, 1:7].mean(axis=0),
            [entropy.mean(), entropy.std(), change, tuning, whole],
        ]
    )


class SoundModel:
    """Statistics in, a unit vector out.

    Parameters
    ----------
    mean, spread : numpy.ndarray
        (n,) of the statistics of the training tracks.
    matrix, offset : numpy.ndarray
        (n, n_dims) and (n_dims,).
    extractor : str
        ``weights_id`` of the extractor that the embeddings come from.
    model_id : str
        8 hex digits of the file's SHA-256.
    summary : dict
        How it was trained.
    """

    def __init__(
        self,
        mean: np.ndarray,
        spread: np.ndarray,
        matrix: np.ndarray,
        offset: np.ndarray,
        *,
        extractor: str,
        model_id: str = "",
        summary: dict[str, object] | None = None,
    ) -> None:
        self.mean, self.spread, self.matrix, self.offset = mean, spread, matrix, offset
        self.extractor, self.id, self.summary = extractor, model_id, summary or {}

    @property
    def name(self) -> str:
        """What results call it, for example ``sound-1a2b3c4d``."""
        return f"sound-{self.id}"

    @property
    def n_dims(self) -> int:
        """Length of its vectors."""
        return self.matrix.shape[1]

    def embed(self, embedding: np.ndarray, spectrum: np.ndarray) -> np.ndarray:
        """Return the (n_dims,) float32 unit vector of a track; see ``sound_statistics``.

        Raises
        ------
        ValueError
            If there are too few frames, or of other bands.
        """
        groups = sound_statistics(embedding, spectrum).values()
        vector = flatten(np.concatenate(list(groups)), self.mean, self.spread) @ self.matrix
        vector = vector + self.offset
        return (vector / max(float(np.linalg.norm(vector)), 1e-9)).astype(np.float32)


def flatten(statistics: np.ndarray, mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return statistics in standard deviations, large ones drawn in by a signed root."""
    z = np.clip((statistics - mean) / spread, -_CLIP, _CLIP)
    return np.sign(z) * np.sqrt(np.abs(z))


@functools.lru_cache(maxsize=2)
def load_sound_model(path: str | os.PathLike[str] | None = None) -> SoundModel:
    """Load the shipped model, or one from a file.

    Raises
    ------
    WeightsError
        If it is missing, damaged, or not one of ours.
    """
    if path is None:
        shipped = sorted(DIRECTORY.glob("sound-*.safetensors"))
        if len(shipped) != 1:
            raise WeightsError(
                f"{show_path(DIRECTORY)}: one sound model is needed and {len(shipped)} are there. "
                "Install auditor again."
            )
        path = shipped[0]
    file = Path(path)
    try:
        data = read_bytes(file, MAX_BYTES)
        digest = hashlib.sha256(data).hexdigest()[:8]
        if not file.stem.endswith(digest):
            raise ValueError(f"its content is {digest}, its name says another")
        tensors = load(data)
        facts = tensors_metadata(data)
        if facts["format"] != FORMAT:
            raise ValueError("it is not of this version")
        names = ("mean", "spread", "matrix", "offset")
        mean, spread, matrix, offset = (tensors[name].astype(np.float32) for name in names)
        n, n_dims = matrix.shape
        if mean.shape != (n,) or spread.shape != (n,) or offset.shape != (n_dims,):
            raise ValueError("its tensors do not fit together")
        if not all(np.isfinite(x).all() for x in (mean, spread, matrix, offset)):
            raise ValueError("it holds values that are not finite")
        if not (spread > 0).all():
            raise ValueError("it holds a spread that is not positive")
        summary = parse_json(facts["summary"])
    except OSError as error:
        raise WeightsError(f"{show_path(file)} cannot be read: {error.strerror}.") from None
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise WeightsError(f"{show_path(file)} is not a sound model: {error}.") from None
    return SoundModel(
        mean,
        spread,
        matrix,
        offset,
        extractor=facts["extractor"],
        model_id=digest,
        summary=summary if isinstance(summary, dict) else {},
    )


def save_sound_model(model: SoundModel, directory: Path) -> Path:
    """Write ``sound-<hash>.safetensors``, the same bytes for the same model; return its path."""
    tensors: dict[str, np.ndarray] = {
        "mean": model.mean.astype(np.float32),
        "spread": model.spread.astype(np.float32),
        "matrix": model.matrix.astype(np.float16),
        "offset": model.offset.astype(np.float32),
    }
    facts = {
        "format": FORMAT,
        "extractor": model.extractor,
        "summary": json.dumps(model.summary, sort_keys=True),
    }
    return write_weights(directory, "sound", with_sorted_header(save(tensors, metadata=facts)))
