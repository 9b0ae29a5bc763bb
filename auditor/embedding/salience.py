"""Pitch salience: which pitches a listener would write down, from the stored spectrum.

A small convolutional network reads the spectrum that is stored beside the d-vectors
(``embedding.spectrogram``) and says for every 192 ms how strongly each pitch class sounds as the
melody, as the bass, and at all.  Harmonics are stacked as channels, so that a filter sees a pitch
and its overtones at once (Bittner et al. 2017, "Deep salience representations for F0 estimation in
polyphonic music"); a transposition is a translation along the bands.  It is trained on rendered
scores, where every frame's pitches are known (``benchmarks/pitch_training.py``).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from safetensors import SafetensorError

from auditor.embedding.config import N_PITCH_COLUMNS, SPECTRUM
from auditor.embedding.extractor import pack_tensors, trained_values, unpack_tensors
from auditor.embedding.spectrogram import unpack_frames
from auditor.errors import WeightsError, show_path
from auditor.serialisation import parse_json, read_bytes, write_weights

if TYPE_CHECKING:
    from auditor.embedding.onnx_graph import Graph, Program

PitchTensors: TypeAlias = Mapping[str, np.ndarray]
"""What both networks have learned, float32, named and shaped as ``SHAPES`` has them."""

HARMONICS = (0, 24, 38, 48, 56, -24)
"""Shifts along the bands, 24 an octave: the pitch itself, its overtones 2 to 5, and the octave
below."""

N_BELOW = 36
"""Bands that are added below the spectrum, for pitches whose overtones alone lie within it."""

LOWEST_PITCH = 57 - N_BELOW // 2
"""MIDI number of the lowest pitch, 78 Hz; band 0 of the spectrum is A3, 57."""

N_PITCHES = (SPECTRUM.n_bands + N_BELOW) // 2
"""Semitones from there on."""

FRAME_S = 2 * SPECTRUM.frame_hop_s
"""Step of the salience, in seconds; two of its frames are one row of pitches."""

FORMAT = "audit-pitches-1"
DIRECTORY = Path(__file__).parents[1] / "pretrained" / "pitches"
_BLOCK = 1024
_MARGIN = 32
_SUMMARY_ROWS, _SUMMARY_HOP = 64, 16

WIDTHS, KERNELS = (3, 24, 32, 64), ((5, 12), (3, 12), (3, 7))
"""Channels and kernels, rows by pitch classes, of the summary network."""

MAX_BYTES = 1 << 26
_CONVOLUTIONS = {
    "salience.first": (24, 2 * len(HARMONICS), 3, 5),
    "salience.second": (24, 24, 4, 3),
    "salience.third": (32, 24, 3, 5),
    "salience.fourth": (32, 32, 7, 1),
    "salience.wide": (32, 4, 1, 13),
    "salience.out": (3, 32, 1, 1),
    "salience.none": (2, 64),
    **{
        f"summary.layers.{k}": (WIDTHS[k + 1], WIDTHS[k], *kernel)
        for k, kernel in enumerate(KERNELS)
    },
    "summary.out": (96, 128),
}
_NORMS = {"salience": (24, 24, 32, 32), "summary": WIDTHS[1:]}
SHAPES = {
    **{f"{name}.weight": shape for name, shape in _CONVOLUTIONS.items()},
    **{f"{name}.bias": shape[:1] for name, shape in _CONVOLUTIONS.items()},
    **{
        f"{network}.norms.{k}.{name}": (width,)
        for network, widths in _NORMS.items()
        for k, width in enumerate(widths)
        for name in ("weight", "bias", "running_mean", "running_var")
    },
}
"""Shapes of the tensors of both networks."""


def _salience_program(tensors: PitchTensors) -> Program:
    """Return the network from spectra, (n, n_frames, n_bands) in dB, n_frames even, to logits.

    Those of pitches, (n, 3, n_frames // 2, N_PITCHES), of melody, bass and any; and those of "no
    melody" and "no bass", (n, n_frames // 2, 2).
    """
    from auditor.embedding.onnx_graph import Graph, axes

    graph = Graph("salience")
    spectrum = graph.input("spectrum", ("n", "frames", SPECTRUM.n_bands))
    x = _stack_harmonics(graph, spectrum)
    x = graph.add_convolution(x, tensors, "salience.first", "salience.norms.0", pads=[1, 2, 1, 2])
    x = graph.add_convolution(
        x, tensors, "salience.second", "salience.norms.1", pads=[1, 1, 1, 1], strides=[2, 2]
    )
    x = graph.add_convolution(x, tensors, "salience.third", "salience.norms.2", pads=[1, 2, 1, 2])
    more = graph.add_convolution(
        x, tensors, "salience.fourth", "salience.norms.3", pads=[3, 0, 3, 0]
    )
    x = graph.add("Add", more, x)
    weight, bias = (tensors[f"salience.wide.{name}"] for name in ("weight", "bias"))
    wide = graph.add("Conv", x, weight, bias, pads=[0, 6, 0, 6], group=8)
    x = graph.add("Add", graph.add("Relu", wide), x)
    logits = graph.add("Conv", x, tensors["salience.out.weight"], tensors["salience.out.bias"])
    pooled = [graph.add(f"Reduce{how}", x, axes(3), keepdims=0) for how in ("Max", "Mean")]
    pooled_rows = graph.add("Transpose", graph.add("Concat", *pooled, axis=1), perm=[0, 2, 1])
    none = graph.add("MatMul", pooled_rows, tensors["salience.none.weight"].T)
    return graph.program(logits, graph.add("Add", none, tensors["salience.none.bias"]))


def _stack_harmonics(graph: Graph, spectrum: str) -> str:
    """Add level and contrast of spectra at each harmonic: (n, 2 * n_harmonics, n_frames, bands).

    The level is counted from the loudest band of some seconds around, so that loudness does not
    matter; the contrast is what a band has more than the bands around it.
    """
    from auditor.embedding.onnx_graph import axes

    def number(value: float) -> np.ndarray:
        return np.array(value, np.float32)

    reach = 15  # frames either side: 3 s
    peak = graph.add("Transpose", graph.add("ReduceMax", spectrum, axes(2)), perm=[0, 2, 1])
    peak = graph.add("MaxPool", peak, kernel_shape=[2 * reach + 1], pads=[reach, reach])
    peak = graph.add("Transpose", peak, perm=[0, 2, 1])
    below = graph.add("Div", graph.add("Sub", spectrum, peak), number(30.0))
    level = graph.add("Max", graph.add("Add", below, number(1.0)), number(-1.0))
    around = graph.add("AveragePool", spectrum, kernel_shape=[25], pads=[12, 12])
    above = graph.add("Div", graph.add("Sub", spectrum, around), number(10.0))
    contrast = graph.add("Clip", above, number(-2.0), number(3.0))
    both = graph.add(
        "Concat", *(graph.add("Unsqueeze", x, axes(1)) for x in (level, contrast)), axis=1
    )
    deepest, longest = -min(HARMONICS), max(HARMONICS)
    edges = np.array([0, 0, 0, N_BELOW + deepest, 0, 0, 0, longest], np.int64)
    padded = graph.add("Pad", both, edges)
    width = SPECTRUM.n_bands + N_BELOW
    shifted = [
        graph.add("Slice", padded, axes(deepest + h), axes(deepest + h + width), axes(3))
        for h in HARMONICS
    ]
    return graph.add("Concat", *shifted, axis=1)


def _summary_program(tensors: PitchTensors) -> Program:
    """Return the network from pitch classes (n, n_rows, 36), 0 to 1, to unit vectors, (n, n_dims).

    Each is of 25 s of pitches: the same work, whatever its key, tempo and arrangement.
    Convolutions run round the circle of pitch classes, and the strongest answer of all twelve
    transpositions counts, so a transposition changes nothing.  It only proposes candidates.
    """
    from auditor.embedding.onnx_graph import Graph, axes

    graph = Graph("summary")
    x = graph.input("pitches", ("n", "rows", 36))
    x = graph.add("Reshape", x, np.array([0, 0, 3, 12], np.int64))
    x = graph.add("Transpose", x, perm=[0, 2, 1, 3])
    for k, (rows, classes) in enumerate(KERNELS):
        circle = graph.add("Slice", x, axes(0), axes(classes - 1), axes(3))
        x = graph.add("Concat", x, circle, axis=3)
        pads = [rows // 2, 0, rows // 2, 0]
        x = graph.add_convolution(
            x, tensors, f"summary.layers.{k}", f"summary.norms.{k}", pads=pads
        )
        if k < 2:
            x = graph.add("MaxPool", x, kernel_shape=[2, 1], strides=[2, 1])
    means, peaks = (graph.add(f"Reduce{how}", x, axes(2), keepdims=0) for how in ("Mean", "Max"))
    means = graph.add("ReduceMax", means, axes(2), keepdims=0)
    peaks = graph.add("ReduceMean", peaks, axes(2), keepdims=0)
    pooled = graph.add("Concat", means, peaks, axis=1)
    out = (tensors[f"summary.out.{name}"] for name in ("weight", "bias"))
    return graph.program(graph.add_unit_vectors(pooled, *out))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return shares of the last axis that sum to 1."""
    x = np.exp(logits - logits.max(axis=-1, keepdims=True))
    x /= x.sum(axis=-1, keepdims=True)
    return x


def fold(logits: np.ndarray, none: np.ndarray) -> np.ndarray:
    """Return pitch-class salience, (n_frames, 36) in 0..1: 12 each of melody, bass, any.

    Parameters
    ----------
    logits, none : numpy.ndarray
        (3, n_frames, N_PITCHES) and (n_frames, 2), see ``PitchModel``.
    """
    melody, bass = (
        softmax(np.append(logits[k], none[:, k : k + 1], axis=1))[:, :-1] for k in (0, 1)
    )
    with np.errstate(over="ignore"):  # 1 / infinity is 0, as it should be
        every = 1.0 / (1.0 + np.exp(-pitch_class_logits(logits[2])))
    return np.concatenate([melody @ _OCTAVES, bass @ _OCTAVES, every], axis=1)


_OCTAVES = np.eye(12, dtype=np.float32)[(np.arange(N_PITCHES) + LOWEST_PITCH) % 12]
"""(N_PITCHES, 12): which pitch class a pitch is; the first is C."""


def pitch_class_logits(logits: np.ndarray) -> np.ndarray:
    """Return the log-sum over octaves of logits, (n_frames, 12)."""
    before = LOWEST_PITCH % 12
    after = -(N_PITCHES + before) % 12
    padded = np.pad(logits, ((0, 0), (before, after)), constant_values=-30.0)
    octaves = padded.reshape(len(logits), -1, 12)
    peak = octaves.max(axis=1)
    return peak + np.log(np.exp(octaves - peak[:, None]).sum(axis=1))


class PitchModel:
    """Both networks, and the cohort that scores are normalised with.

    Parameters
    ----------
    tensors : mapping of str to numpy.ndarray
        See ``PitchTensors``.

    Attributes
    ----------
    id : str
        8 hex digits of the file's SHA-256.
    cohort : tuple of numpy.ndarray
        Pitches of unrelated works, (n, 37) uint8 each.
    summary : dict
        How it was trained.
    """

    def __init__(
        self,
        tensors: PitchTensors,
        cohort: tuple[np.ndarray, ...],
        *,
        model_id: str = "",
        summary: dict[str, object] | None = None,
    ) -> None:
        self._tensors = tensors
        self._salience, self._summarise = _salience_program(tensors), _summary_program(tensors)
        self.cohort, self.id, self.summary = cohort, model_id, summary or {}

    def pitches(self, spectrum: np.ndarray) -> np.ndarray:
        """Return the pitches of a spectrum (n_frames, n_bands) uint8: (n_frames // 4, 37) uint8.

        See ``evidence.composition.pitches``.  Long spectra are read in overlapping blocks, so
        memory does not grow with them.
        """
        n_rows = len(spectrum) // 4
        out = np.zeros((n_rows, N_PITCH_COLUMNS), np.uint8)
        step = _BLOCK - 2 * _MARGIN
        for start in range(0, n_rows * 4, step):
            first = max(0, start - _MARGIN)
            last = min(n_rows * 4, start + step + _MARGIN)
            rows = self._block(spectrum[first:last])
            skip = (start - first) // 4
            end = min(n_rows, (start + step) // 4)
            out[start // 4 : end] = rows[skip : skip + end - start // 4]
        return out

    def _block(self, spectrum: np.ndarray) -> np.ndarray:
        logits, none = (each[0] for each in self._salience(unpack_frames(spectrum)[None]))
        classes = _mean_of_twos(fold(logits, none))
        melody = _mean_of_twos(softmax(np.append(logits[0], none[:, :1], axis=1)))
        pitch = melody.argmax(axis=1)
        pitch = np.where(pitch == N_PITCHES, 0, pitch + LOWEST_PITCH)
        return np.append(np.rint(classes * 255), pitch[:, None], axis=1).astype(np.uint8)

    def summaries(self, rows: np.ndarray) -> np.ndarray:
        """Return a unit vector for each 25 s, every 6 s: (n, n_dims) float16, of (n, 37) uint8."""
        if len(rows) < _SUMMARY_ROWS:
            rows = np.pad(rows, ((0, _SUMMARY_ROWS - len(rows)), (0, 0)))
        starts = range(0, len(rows) - _SUMMARY_ROWS + 1, _SUMMARY_HOP)
        windows = np.stack([rows[s : s + _SUMMARY_ROWS, :36] for s in starts])
        parts = [
            self._summarise(part.astype(np.float32) / 255)[0]
            for part in np.array_split(windows, -(-len(windows) // 64))
        ]
        return np.concatenate(parts).astype(np.float16)

    def save(self, directory: Path) -> Path:
        """Write ``pitches-<hash>.safetensors``, and return its path."""
        tensors = {key: value.astype(np.float16) for key, value in self._tensors.items()}
        tensors["cohort.rows"] = np.concatenate(self.cohort)
        tensors["cohort.lengths"] = np.array([len(rows) for rows in self.cohort])
        header = {"format": FORMAT, "summary": json.dumps(self.summary, sort_keys=True)}
        return write_weights(directory, "pitches", pack_tensors(tensors, header))


def _mean_of_twos(rows: np.ndarray) -> np.ndarray:
    return (rows[::2] + rows[1::2]) / 2


@functools.lru_cache(maxsize=2)
def load_pitch_model(path: str | os.PathLike[str] | None = None) -> PitchModel:
    """Load the shipped model, or one from a file.

    Raises
    ------
    WeightsError
        If it is missing, damaged, or not one of ours.
    """
    if path is None:
        shipped = sorted(DIRECTORY.glob("pitches-*.safetensors"))
        if len(shipped) != 1:
            raise WeightsError(
                f"{show_path(DIRECTORY)}: one pitch model is needed and {len(shipped)} are there. "
                "Install auditor again, or give --no-compositions."
            )
        path = shipped[0]
    file = Path(path)
    try:
        data = read_bytes(file, MAX_BYTES)
        tensors, header = unpack_tensors(data)
        if header.get("format") != FORMAT:
            raise WeightsError(f"{show_path(file)} is not a pitch model of this version.")
        cohort, lengths = tensors["cohort.rows"], tensors["cohort.lengths"]
        if (
            cohort.dtype != np.uint8
            or cohort.shape[1:] != (N_PITCH_COLUMNS,)
            or (lengths.dtype != np.int64 or lengths.ndim != 1 or lengths.min(initial=1) < 1)
            or sum(lengths.tolist()) != len(cohort)
        ):
            raise WeightsError(f"{show_path(file)} is damaged: its cohort does not fit together.")
        summary = parse_json(header.get("summary", "{}"))
        learned = {name: tensors[name] for name in SHAPES}
        if {name: value.shape for name, value in learned.items()} != SHAPES:
            raise ValueError("its tensors do not fit the networks")
        return PitchModel(
            trained_values(learned),
            tuple(np.split(cohort, np.cumsum(lengths)[:-1])),
            model_id=hashlib.sha256(data).hexdigest()[:8],
            summary=summary if isinstance(summary, dict) else {},
        )
    except OSError as error:
        raise WeightsError(f"{show_path(file)} cannot be read: {error.strerror}.") from None
    except (SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{show_path(file)} is not a pitch model: {error}.") from None
