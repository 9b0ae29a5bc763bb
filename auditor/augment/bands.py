"""Alterations of log-power windows, batched, for training.

What a codec, a room, an equaliser or a change of pitch does to a recording is imitated on the band
frames themselves, where it costs next to nothing: on a log-frequency axis a pitch shift is a
translation, a change of tempo is a stretch of the time axis, gain and equalisation are additions
in dB, and noise or other music adds in power.  Each function takes and returns frames in dB below
full scale; ``alter_windows`` applies them all at random strengths.

Ranges are those of ``BandAlterations``; they are wider than anything a copy is expected to undergo.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional

from auditor.embedding.config import FeatureConfig

DB_PER_NAT = 10.0 / math.log(10.0)


@dataclass(frozen=True)
class BandAlterations:
    """How strongly and how often windows are altered in training.

    Probabilities are per window; ranges are uniform unless a docstring says otherwise.

    Attributes
    ----------
    clean : float
        Share of windows that stay unaltered but for a level change.
    clean_first : float
        The same for the first utterance of each class: most copies are compared with an original,
        so most classes of a batch should hold one.
    warp : float
        Share whose tempo, pitch or both change.
    tempo : float
        Largest tempo ratio; ratios are log-uniform in [1 / tempo, tempo].
    pitch_semitones : float
        Largest pitch shift either way, where pitch moves by itself or freely beside the tempo.
        Where one speed changes both, pitch follows ``tempo``: up to ``12 * log2(tempo)``, which is
        5.8 semitones for 1.4.
    equalise : float
        Share given a smooth random equaliser curve of up to ``equalise_db`` either way.
    band_limit : float
        Share that lose their low bands, their high bands or both.
    room : float
        Share smeared by a room of RT60 0.2 to ``rt60_s`` seconds.
    dynamics : float
        Share whose dynamics are compressed by up to ``ratio`` to one.
    noise : float
        Share with noise of any colour added at ``noise_snr_db`` .. 25 dB.
    mix : float
        Share with a window of the batch added at ``mix_snr_db`` .. 15 dB.  The partners are a
        random permutation, so a window may be its own; that changes nothing but its level.
    talk : float
        Share with one voice or a crowd of them added at ``talk_snr_db`` .. 15 dB, where any are
        given.
    codec : float
        Share that lose what a coder would mask and get coarse, jittering levels.
    mask : float
        Share with a stretch of bands or frames blanked.
    """

    clean: float = 0.1
    clean_first: float = 0.6
    warp: float = 0.7
    tempo: float = 1.4
    pitch_semitones: float = 5.0
    equalise: float = 0.5
    equalise_db: float = 12.0
    band_limit: float = 0.25
    room: float = 0.3
    rt60_s: float = 2.0
    dynamics: float = 0.3
    ratio: float = 8.0
    noise: float = 0.35
    noise_snr_db: float = -5.0
    mix: float = 0.25
    mix_snr_db: float = 0.0
    talk: float = 0.25
    talk_snr_db: float = -5.0
    codec: float = 0.3
    mask: float = 0.1

    @property
    def context(self) -> float:
        """Frames needed per frame of the window, so that the fastest tempo stays inside."""
        return self.tempo


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(n, generator=generator)


def _chosen(n: int, share: float, generator: torch.Generator) -> torch.Tensor:
    return torch.rand(n, generator=generator) < share


def add_power(a_db: torch.Tensor, b_db: torch.Tensor) -> torch.Tensor:
    """Return the level of two uncorrelated signals together, in dB."""
    return DB_PER_NAT * torch.logaddexp(a_db / DB_PER_NAT, b_db / DB_PER_NAT)


def mean_level(windows: torch.Tensor) -> torch.Tensor:
    """Return the mean power of each window over frames and bands, (n, 1, 1), in dB."""
    n = windows.shape[1] * windows.shape[2]
    total = torch.logsumexp(windows.flatten(1) / DB_PER_NAT, dim=1)
    return (DB_PER_NAT * (total - math.log(n)))[:, None, None]


def warp(
    segments: torch.Tensor,
    *,
    n_frames: int,
    start: torch.Tensor,
    tempo: torch.Tensor,
    pitch_bands: torch.Tensor,
) -> torch.Tensor:
    """Cut windows out of longer segments at another tempo and pitch.

    Parameters
    ----------
    segments : torch.Tensor
        (n, n_source, n_bands), dB, log-frequency bands.
    n_frames : int
        Frames of a window.
    start : torch.Tensor
        (n,) frame of the segment where the window begins; fractions are interpolated.
    tempo : torch.Tensor
        (n,) frames of the segment for each frame of the window; above 1 is faster.
    pitch_bands : torch.Tensor
        (n,) bands by which the content moves up.

    Returns
    -------
    torch.Tensor
        (n, n_frames, n_bands).  Bands that come from beyond the axis repeat the outermost band.
    """
    _, n_source, n_bands = segments.shape
    t = start[:, None] + tempo[:, None] * torch.arange(n_frames)  # (n, n_frames)
    f = torch.arange(n_bands)[None, :] - pitch_bands[:, None]  # (n, n_bands)
    grid_t = (2.0 * t / (n_source - 1) - 1.0)[:, :, None].expand(-1, -1, n_bands)
    grid_f = (2.0 * f / (n_bands - 1) - 1.0)[:, None, :].expand(-1, n_frames, -1)
    grid = torch.stack([grid_f, grid_t], dim=-1)  # (n, n_frames, n_bands, 2)
    return functional.grid_sample(
        segments[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True
    )[:, 0]


def equalise(windows: torch.Tensor, amount_db: float, generator: torch.Generator) -> torch.Tensor:
    """Add a smooth random curve over the bands: four cosines, at most ``amount_db`` in all."""
    n, _, n_bands = windows.shape
    x = (torch.arange(n_bands) + 0.5) / n_bands  # (n_bands,)
    shapes = torch.stack([torch.cos(math.pi * k * x) for k in range(1, 5)])  # (4, n_bands)
    weights = torch.randn(n, 4, generator=generator) / torch.arange(1, 5)
    curve = weights @ shapes  # (n, n_bands)
    peak = curve.abs().amax(dim=1, keepdim=True).clamp_min(1e-6)
    strength = amount_db * torch.rand(n, 1, generator=generator)
    return windows + (curve / peak * strength)[:, None, :]


def limit_band(windows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Cut low bands (up to 45 %), high bands (up to 45 %) or both, by 1 to 6 dB per band."""
    n, _, n_bands = windows.shape
    which = torch.randint(0, 3, (n,), generator=generator)
    low = torch.where(which != 1, _uniform(n, 0.0, 0.45, generator), torch.tensor(-1.0)) * n_bands
    high = torch.where(which != 0, _uniform(n, 0.55, 1.0, generator), torch.tensor(2.0)) * n_bands
    slope = _uniform(n, 1.0, 6.0, generator)[:, None]
    band = torch.arange(n_bands)[None, :]
    below = (low[:, None] - band).clamp_min(0.0)
    above = (band - high[:, None]).clamp_min(0.0)
    cut = (slope * (below + above)).clamp_max(60.0)  # (n, n_bands)
    return windows - cut[:, None, :]


def smear(
    windows: torch.Tensor, rt60_s: torch.Tensor, wet: torch.Tensor, *, frame_hop_s: float
) -> torch.Tensor:
    """Add the decaying energy of a room to each band.

    Parameters
    ----------
    windows : torch.Tensor
        (n, n_frames, n_bands), dB.
    rt60_s : torch.Tensor
        (n,) seconds for the room to decay by 60 dB.
    wet : torch.Tensor
        (n,) reverberant energy over direct energy for a steady sound.
    """
    n_frames = windows.shape[1]
    decay = torch.exp(-13.8155 * frame_hop_s / rt60_s)  # power per frame, ln(10**6) = 13.8155
    lag = torch.arange(n_frames)[:, None] - torch.arange(n_frames)[None, :]  # (T, T)
    kernel = torch.where(lag > 0, decay[:, None, None] ** lag.clamp_min(0), torch.tensor(0.0))
    kernel = kernel * (wet * (1.0 - decay) / decay)[:, None, None]
    top = windows.amax(dim=(1, 2), keepdim=True)
    power = torch.exp((windows - top) / DB_PER_NAT)
    return top + DB_PER_NAT * torch.log((power + kernel @ power).clamp_min(1e-12))


def compress(windows: torch.Tensor, generator: torch.Generator, *, ratio: float) -> torch.Tensor:
    """Reduce loud frames towards a threshold in the upper 30 dB, by 1.5 : 1 to ``ratio`` : 1."""
    n = len(windows)
    level = DB_PER_NAT * torch.logsumexp(windows / DB_PER_NAT, dim=2)  # (n, n_frames)
    size = 2 * int(torch.randint(0, 8, (1,), generator=generator)) + 1
    smooth = functional.avg_pool1d(
        functional.pad(level[:, None], (size // 2, size // 2), mode="replicate"), size, stride=1
    )[:, 0]
    threshold = smooth.amax(dim=1, keepdim=True) - _uniform(n, 5.0, 30.0, generator)[:, None]
    slope = 1.0 - 1.0 / _uniform(n, 1.5, ratio, generator)[:, None]
    return windows - (slope * (smooth - threshold).clamp_min(0.0))[:, :, None]


def add_noise(
    windows: torch.Tensor, snr_db: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Add stationary noise of random colour whose band powers fluctuate as a spectrogram's do.

    Parameters
    ----------
    windows : torch.Tensor
        (n, n_frames, n_bands), dB.
    snr_db : torch.Tensor
        (n,) mean power of the window over that of the noise.
    """
    n, n_frames, n_bands = windows.shape
    # White noise grows by 3 dB an octave on log-spaced bands of constant relative width in power
    # per band only where bands are summed; these bands are averages, so white is flat, pink falls.
    tilt = _uniform(n, -0.9, 0.15, generator)[:, None, None]  # dB per band
    shape = tilt * torch.arange(n_bands)
    # Mean of k exponentials, k from 1 (narrow bands) to 4 (wide ones), by summed logarithms.
    fluctuation = torch.zeros(n, n_frames, n_bands)
    for _ in range(2):
        fluctuation -= torch.rand(n, n_frames, n_bands, generator=generator).clamp_min(1e-6).log()
    return add_at(windows, shape + DB_PER_NAT * torch.log(fluctuation / 2.0), snr_db)


def add_at(windows: torch.Tensor, others: torch.Tensor, snr_db: torch.Tensor) -> torch.Tensor:
    """Add other windows, (n, n_frames, n_bands) in dB, at ratios of mean power of (n,) dB."""
    level = mean_level(windows) - mean_level(others) - snr_db[:, None, None]
    return add_power(windows, others + level)


def cut_talk(talk: torch.Tensor, n: int, n_frames: int, generator: torch.Generator) -> torch.Tensor:
    """Return segments of voices from random places, (n, n_frames, n_bands), dB."""
    which = torch.randint(0, len(talk), (n,), generator=generator)
    latest = talk.shape[1] - n_frames + 1
    start = torch.randint(0, latest, (n,), generator=generator)
    return talk[which[:, None], start[:, None] + torch.arange(n_frames)]


def imitate_codec(windows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Drop what lies 15 to 40 dB under each frame's peak and jitter what stays by up to 3 dB."""
    n = len(windows)
    depth = _uniform(n, 15.0, 40.0, generator)[:, None, None]
    floor = windows.amax(dim=2, keepdim=True) - depth
    jitter = _uniform(n, 0.0, 3.0, generator)[:, None, None]
    noise = torch.randn(windows.shape, generator=generator) * jitter
    kept = windows + noise
    return torch.where(windows < floor, torch.minimum(kept, floor) - 10.0, kept)


def mask(windows: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Blank up to a fifth of the frames and up to a fifth of the bands of each window."""
    n, n_frames, n_bands = windows.shape
    low = windows.amin(dim=(1, 2), keepdim=True)
    for size, dim in ((n_frames, 1), (n_bands, 2)):
        width = (_uniform(n, 0.0, 0.2, generator) * size).long()[:, None]
        first = (torch.rand(n, generator=generator) * size).long()[:, None]
        at = torch.arange(size)[None, :]
        blank = (at >= first) & (at < first + width)  # (n, size)
        windows = torch.where(blank[:, :, None] if dim == 1 else blank[:, None, :], low, windows)
    return windows


def alter_windows(
    segments: torch.Tensor,
    *,
    n_frames: int,
    centre: torch.Tensor,
    features: FeatureConfig,
    alterations: BandAlterations,
    generator: torch.Generator,
    first: torch.Tensor | None = None,
    talk: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cut one altered window out of each segment.

    Parameters
    ----------
    segments : torch.Tensor
        (n, n_source, n_bands), dB; at least ``n_frames * alterations.context`` frames behind the
        latest start.
    n_frames : int
        Frames of a window.
    centre : torch.Tensor
        (n,) frame of the segment at which the window's middle lies, so that views of one segment
        share their middle whatever their tempo.
    features : FeatureConfig
        Pitch shifts need the ``log`` layout; with ``mel`` only tempo is warped.
    alterations : BandAlterations
    generator : torch.Generator
        On the CPU; the only source of chance.
    first : torch.Tensor, optional
        (n,) bool, the windows to which ``clean_first`` applies; none if left out.
    talk : torch.Tensor, optional
        (n_talks, n_talk_frames, n_bands), dB, at least ``n_frames`` long: voices and crowds.

    Returns
    -------
    torch.Tensor
        (n, n_frames, n_bands), dB, not normalised.
    """
    n = len(segments)
    a = alterations
    dirty = ~_chosen(n, a.clean, generator)
    kept = _chosen(n, a.clean_first, generator)
    if first is not None:
        dirty = torch.where(first, ~kept, dirty)

    def share(p: float) -> torch.Tensor:
        return dirty & _chosen(n, p, generator)

    # Tempo alone, pitch alone, both by one speed, or both freely.
    log_tempo = _uniform(n, -1.0, 1.0, generator) * math.log(a.tempo)
    pitch = _uniform(n, -1.0, 1.0, generator) * a.pitch_semitones
    mode = torch.randint(0, 4, (n,), generator=generator)
    pitch = torch.where(mode == 2, 12.0 * log_tempo / math.log(2.0), pitch)
    warped = share(a.warp)
    log_tempo = torch.where(warped & (mode != 1), log_tempo, torch.tensor(0.0))
    pitch = torch.where(warped & (mode != 0), pitch, torch.tensor(0.0))
    if features.layout != "log":
        pitch = torch.zeros_like(pitch)
    tempo = log_tempo.exp()
    x = warp(
        segments,
        n_frames=n_frames,
        start=centre - tempo * n_frames / 2.0,
        tempo=tempo,
        pitch_bands=pitch * features.bands_per_octave / 12.0,
    )

    def apply(
        chosen: torch.Tensor, alter: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> None:
        rows = chosen.nonzero()[:, 0]
        if len(rows):
            x[rows] = alter(x[rows], rows)

    other = torch.randperm(n, generator=generator)
    snr = _uniform(n, a.mix_snr_db, 15.0, generator)[:, None, None]
    mixed = share(a.mix)
    loud = mean_level(x)
    others = x[other] - loud[other]
    apply(mixed, lambda w, r: add_power(w, others[r] + loud[r] - snr[r]))
    talked = share(a.talk)
    if talk is not None:
        talk_snr = _uniform(n, a.talk_snr_db, 15.0, generator)
        voices = cut_talk(talk, n, n_frames, generator)
        apply(talked, lambda w, r: add_at(w, voices[r], talk_snr[r]))
    rt60 = torch.exp(_uniform(n, math.log(0.2), math.log(a.rt60_s), generator))
    wet = torch.exp(_uniform(n, math.log(0.3), math.log(4.0), generator))
    apply(
        share(a.room),
        lambda w, r: smear(w, rt60[r], wet[r], frame_hop_s=features.frame_hop_s),
    )
    noise_snr = _uniform(n, a.noise_snr_db, 25.0, generator)
    apply(share(a.noise), lambda w, r: add_noise(w, noise_snr[r], generator))
    apply(share(a.equalise), lambda w, r: equalise(w, a.equalise_db, generator))
    apply(share(a.dynamics), lambda w, r: compress(w, generator, ratio=a.ratio))
    apply(share(a.band_limit), lambda w, r: limit_band(w, generator))
    apply(share(a.codec), lambda w, r: imitate_codec(w, generator))
    apply(share(a.mask), lambda w, r: mask(w, generator))
    return x
