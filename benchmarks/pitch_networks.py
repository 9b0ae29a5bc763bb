"""The networks of the pitch model in torch, to train them.

What they compute is what ``auditor.embedding.salience`` computes from the same tensors; a test
holds the two together.
"""

from __future__ import annotations

import torch
from torch import nn

from auditor.embedding.salience import (
    HARMONICS,
    KERNELS,
    LOWEST_PITCH,
    N_BELOW,
    WIDTHS,
    PitchTensors,
)


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
                for n_in, n_out, kernel in zip(WIDTHS, WIDTHS[1:], KERNELS, strict=False)
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(n_out) for n_out in WIDTHS[1:]])
        self.out = nn.Linear(128, n_dims)

    def forward(self, pitches: torch.Tensor) -> torch.Tensor:
        """Return (n, n_dims), unit norm, of pitch-class salience (n, n_rows, 36) in 0..1."""
        x = pitches.unflatten(-1, (3, 12)).permute(0, 2, 1, 3)
        parts = zip(self.layers.children(), self.norms.children(), strict=True)
        for k, (layer, norm) in enumerate(parts):
            rows, classes = KERNELS[k]
            around = torch.cat([x, x[..., : classes - 1]], -1)
            x = torch.relu(norm(layer(nn.functional.pad(around, (0, 0, rows // 2, rows // 2)))))
            if k < 2:
                x = nn.functional.max_pool2d(x, (2, 1))
        pooled = torch.cat([x.mean(2).amax(2), x.amax(2).mean(2)], 1)
        return nn.functional.normalize(self.out(pooled), dim=1)


def tensors_of(salience: SalienceNetwork, summary: SummaryNetwork) -> PitchTensors:
    """Return what both networks have learned, by the names that a pitch model gives them."""
    return {
        f"{name}.{key}": value.detach().numpy()
        for name, network in (("salience", salience), ("summary", summary))
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
