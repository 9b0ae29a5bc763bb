"""Pitch salience: which pitches a listener would write down, from the stored spectrum.

A small convolutional network reads the spectrum that is stored beside the d-vectors
(``embedding.spectrogram``) and says for every 192 ms how strongly each pitch class sounds as the
melody, as the bass, and at all.  Harmonics are stacked as channels, so that a filter sees a pitch
and its overtones at once (Bittner et al. 2017, "Deep salience representations for F0 estimation in
polyphonic music"); a transposition is a translation along the bands.  It is trained on rendered
scores, where every frame's pitches are known (``benchmarks/salience.py``).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from auditor.embedding.config import N_PITCH_COLUMNS, SPECTRUM
from auditor.embedding.extractor import pack_tensors, unpack_tensors
from auditor.embedding.spectrogram import unpack_frames
from auditor.errors import WeightsError, show_path
from auditor.serialisation import write_weights

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
_WIDTHS = (3, 24, 32, 64)
_KERNELS = ((5, 12), (3, 12), (3, 7))


class SalienceNetwork(nn.Module):
    """Logits of pitches from spectra.

    Parameters
    ----------
    channels : int
        Width of the convolutions.
    """

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        n_in = 2 * len(HARMONICS)
        self.first = nn.Conv2d(n_in, channels, (3, 5), padding=(1, 2))
        self.second = nn.Conv2d(channels, channels, (4, 3), stride=(2, 2), padding=(1, 1))
        self.third = nn.Conv2d(channels, 32, (3, 5), padding=(1, 2))
        self.fourth = nn.Conv2d(32, 32, (7, 1), padding=(3, 0))
        self.wide = nn.Conv2d(32, 32, (1, 13), padding=(0, 6), groups=8)
        self.out = nn.Conv2d(32, 3, 1)
        self.none = nn.Linear(64, 2)
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for c in (channels, channels, 32, 32)])

    def forward(self, spectrum: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits of pitches: of melody, bass and any; and of "no melody" and "no bass".

        Parameters
        ----------
        spectrum : torch.Tensor
            (n, n_frames, n_bands), in dB; n_frames even.

        Returns
        -------
        tuple of torch.Tensor
            (n, n_frames // 2, N_PITCHES, 3) and (n, n_frames // 2, 2).
        """
        x = torch.relu(self.norms[0](self.first(stack_harmonics(spectrum))))
        x = torch.relu(self.norms[1](self.second(x)))
        x = torch.relu(self.norms[2](self.third(x)))
        x = torch.relu(self.norms[3](self.fourth(x))) + x
        x = torch.relu(self.wide(x)) + x
        logits = self.out(x).permute(0, 2, 3, 1)
        pooled = torch.cat([x.amax(3), x.mean(3)], 1).transpose(1, 2)
        return logits, self.none(pooled)


def stack_harmonics(spectrum: torch.Tensor) -> torch.Tensor:
    """Return level and contrast of spectra at each harmonic, (n, 2 * n_harmonics, n_frames, bands).

    The level is counted from the loudest band of some seconds around, so that loudness does not
    matter; the contrast is what a band has more than the bands around it.
    """
    n_frames = spectrum.shape[1]
    peak = spectrum.amax(2, keepdim=True).transpose(1, 2)
    reach = 15  # frames either side: 3 s
    peak = nn.functional.max_pool1d(peak, 2 * reach + 1, 1, reach).transpose(1, 2)
    level = ((spectrum - peak) / 30.0 + 1.0).clamp(min=-1.0)
    around = nn.functional.avg_pool1d(spectrum, 2 * 12 + 1, 1, 12, count_include_pad=False)
    contrast = ((spectrum - around) / 10.0).clamp(-2.0, 3.0)
    both = torch.stack([level, contrast], 1)
    longest = max(HARMONICS)
    padded = nn.functional.pad(both, (N_BELOW + 24, longest))
    width = spectrum.shape[2] + N_BELOW
    shifted = [padded[..., 24 + h : 24 + h + width] for h in HARMONICS]
    return torch.cat(shifted, 1).reshape(len(spectrum), -1, n_frames, width)


def fold(logits: torch.Tensor, none: torch.Tensor) -> torch.Tensor:
    """Return pitch-class salience, (n, n_frames, 36) in 0..1: 12 each of melody, bass, any."""
    melody = torch.softmax(torch.cat([logits[..., 0], none[..., :1]], -1), -1)[..., :-1]
    bass = torch.softmax(torch.cat([logits[..., 1], none[..., 1:]], -1), -1)[..., :-1]
    every = torch.sigmoid(pitch_class_logits(logits[..., 2]))
    return torch.cat([_classes(melody), _classes(bass), every], -1)


def _classes(pitches: torch.Tensor) -> torch.Tensor:
    """Return the sums over octaves; the first class is C."""
    n = pitches.shape[-1]
    target = (torch.arange(n, device=pitches.device) + LOWEST_PITCH) % 12
    out = torch.zeros(*pitches.shape[:-1], 12, device=pitches.device, dtype=pitches.dtype)
    return out.index_add(-1, target, pitches)


def pitch_class_logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the log-sum over octaves of logits, (..., 12)."""
    before = LOWEST_PITCH % 12
    after = -(logits.shape[-1] + before) % 12
    padded = nn.functional.pad(logits, (before, after), value=-30.0)
    return padded.unflatten(-1, (-1, 12)).logsumexp(-2)


class SummaryNetwork(nn.Module):
    """A unit vector for 25 s of pitches: the same work, whatever its key, tempo and arrangement.

    Convolutions run round the circle of pitch classes, and the strongest answer of all twelve
    transpositions counts, so a transposition changes nothing.  It only proposes candidates.

    Parameters
    ----------
    n_dims : int
        Length of the vector.
    """

    def __init__(self, n_dims: int = 96) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(n_in, n_out, kernel)
                for n_in, n_out, kernel in zip(_WIDTHS, _WIDTHS[1:], _KERNELS, strict=False)
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(n_out) for n_out in _WIDTHS[1:]])
        self.out = nn.Linear(128, n_dims)

    def forward(self, pitches: torch.Tensor) -> torch.Tensor:
        """Return (n, n_dims), unit norm, of pitch-class salience (n, n_rows, 36) in 0..1."""
        x = pitches.unflatten(-1, (3, 12)).permute(0, 2, 1, 3)
        parts = zip(self.layers.children(), self.norms.children(), strict=True)
        for k, (layer, norm) in enumerate(parts):
            rows, classes = _KERNELS[k]
            around = torch.cat([x, x[..., : classes - 1]], -1)
            x = torch.relu(norm(layer(nn.functional.pad(around, (0, 0, rows // 2, rows // 2)))))
            if k < 2:
                x = nn.functional.max_pool2d(x, (2, 1))
        pooled = torch.cat([x.mean(2).amax(2), x.amax(2).mean(2)], 1)
        return nn.functional.normalize(self.out(pooled), dim=1)


class PitchModel:
    """Both networks, and the cohort that scores are normalised with.

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
        salience: SalienceNetwork,
        summary_network: SummaryNetwork,
        cohort: tuple[np.ndarray, ...],
        *,
        model_id: str = "",
        summary: dict[str, object] | None = None,
    ) -> None:
        self.salience = salience.eval().requires_grad_(False)
        self.summary_network = summary_network.eval().requires_grad_(False)
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
        frames = torch.from_numpy(unpack_frames(spectrum))[None]
        logits, none = self.salience(frames)
        classes = fold(logits, none)[0]
        classes = classes.unflatten(0, (-1, 2)).mean(1)
        melody = torch.softmax(torch.cat([logits[0, ..., 0], none[0, :, :1]], -1), -1)
        melody = melody.unflatten(0, (-1, 2)).mean(1)
        pitch = melody.argmax(1)
        pitch = torch.where(pitch == N_PITCHES, torch.zeros_like(pitch), pitch + LOWEST_PITCH)
        rows = torch.cat([(classes * 255).round(), pitch[:, None].float()], 1)
        return rows.to(torch.uint8).numpy()

    def summaries(self, rows: np.ndarray) -> np.ndarray:
        """Return a unit vector for each 25 s, every 6 s: (n, n_dims) float16, of (n, 37) uint8."""
        if len(rows) < _SUMMARY_ROWS:
            rows = np.pad(rows, ((0, _SUMMARY_ROWS - len(rows)), (0, 0)))
        starts = range(0, len(rows) - _SUMMARY_ROWS + 1, _SUMMARY_HOP)
        windows = np.stack([rows[s : s + _SUMMARY_ROWS, :36] for s in starts])
        parts = [
            self.summary_network(torch.from_numpy(part.astype(np.float32) / 255)).numpy()
            for part in np.array_split(windows, -(-len(windows) // 64))
        ]
        return np.concatenate(parts).astype(np.float16)

    def save(self, directory: Path) -> Path:
        """Write ``pitches-<hash>.safetensors``, and return its path."""
        tensors = {
            f"{name}.{key}": value.half() if value.is_floating_point() else value
            for name, part in (("salience", self.salience), ("summary", self.summary_network))
            for key, value in part.state_dict().items()
        }
        tensors["cohort.rows"] = torch.from_numpy(np.concatenate(self.cohort))
        tensors["cohort.lengths"] = torch.tensor([len(rows) for rows in self.cohort])
        header = {"format": FORMAT, "summary": json.dumps(self.summary, sort_keys=True)}
        return write_weights(directory, "pitches", pack_tensors(tensors, header))


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
        data = file.read_bytes()
        tensors, header = unpack_tensors(data)
        if header.get("format") != FORMAT:
            raise WeightsError(f"{show_path(file)} is not a pitch model of this version.")
        networks = SalienceNetwork(), SummaryNetwork()
        for name, network in zip(("salience", "summary"), networks, strict=True):
            state = {
                key.removeprefix(f"{name}."): value.float() if value.is_floating_point() else value
                for key, value in tensors.items()
                if key.startswith(f"{name}.")
            }
            network.load_state_dict(state)
        lengths = tensors["cohort.lengths"].tolist()
        rows = tensors["cohort.rows"].numpy()
        if min(lengths) < 1 or sum(lengths) != len(rows) or rows.shape[1:] != (N_PITCH_COLUMNS,):
            raise WeightsError(f"{show_path(file)} is damaged: its cohort does not fit together.")
    except OSError as error:
        raise WeightsError(f"{show_path(file)} cannot be read: {error.strerror}.") from None
    except (SafetensorError, KeyError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{show_path(file)} is not a pitch model: {error}.") from None
    cohort = tuple(np.split(rows, np.cumsum(lengths)[:-1]))
    digest = hashlib.sha256(data).hexdigest()[:8]
    return PitchModel(*networks, cohort, model_id=digest)
