"""What would have been found: passages of training tracks put into outputs, and searched again.

Passages of known length, plain and altered, go into outputs of the model at random places.  The
result is embedded and compared with the training music exactly as the outputs were: the same index,
candidates, threshold and rules.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.isolated import load_waveform
from auditor.augment.waveform import codec, mix, plant, shift_pitch, stretch_time
from auditor.calibration.metrics import wilson_interval
from auditor.embedding.embed import embed_waveform
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.errors import AudioError, AuditError
from auditor.parallel import OnProgress
from auditor.records import Replication
from auditor.scoring.segments import SegmentedTrack, asking_track, search_segments
from auditor.scoring.spectral_candidates import Blocks, spectral_hits
from auditor.scoring.track_reader import TrackReader
from auditor.workspace import Workspace

SHARES = (0.05, 0.10, 0.15, 0.25, 0.50)
"""Shares of an output that a passage takes up."""

N_HOSTS = 8
"""Outputs that passages are put into, unless another number is given."""

MAX_HOST_S = 120.0
"""Only so much of the beginning of an output is used."""

MIN_PASSAGE_S = 1.0
_AUDIBLE = 1e-3
_MIN_OVERLAP = 0.5

Alteration = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A passage and what it is put over, both (n,) float32, to what is put there."""


def _recoded(passage: np.ndarray, _: np.ndarray) -> np.ndarray:
    return codec(passage / max(1.0, float(np.abs(passage).max())), "mp3", 64_000)


ALTERATIONS: dict[str, Alteration] = {
    "pasted": lambda passage, _: passage,
    "re-encoded (mp3, 64 kbit/s)": _recoded,
    "pitch +1 semitone": lambda passage, _: shift_pitch(passage, 1.0),
    "tempo -5 %": lambda passage, _: stretch_time(passage, 0.95),
    "under other sound of its level": lambda passage, under: mix(passage, under, level_db=0.0),
}
"""What is done to passages, by name."""


@dataclass(frozen=True)
class Setup:
    """What the comparison of outputs was made with.

    Attributes
    ----------
    workspace : Workspace
    reader : TrackReader
    training : bytes
        A bit for each row of the catalogue.
    threshold : float
    paths : mapping of str to bytes
        Files of outputs and training tracks, by id.
    blocks : sequence of Blocks
        Of the training music, where passages of seconds are looked for.
    """

    workspace: Workspace
    reader: TrackReader
    training: bytes
    threshold: float
    paths: Mapping[str, bytes]
    blocks: Sequence[Blocks] = ()


def replicate(
    setup: Setup,
    hosts: Sequence[str],
    sources: Sequence[str],
    *,
    n_hosts: int = N_HOSTS,
    seed: int = 0,
    on_case: OnProgress | None = None,
) -> tuple[tuple[Replication, ...], tuple[str, ...]]:
    """Put passages of training tracks into outputs, and count how many are found again.

    Parameters
    ----------
    setup : Setup
    hosts, sources : sequence of str
        Ids of outputs and of training tracks to draw from.
    n_hosts : int
        Outputs that are drawn; each is used for every share and alteration.
    seed : int
    on_case : callable, optional
        Called with the passages done and all of them.

    Returns
    -------
    tuple of Replication, and tuple of str
        By alteration and share; and what could not be measured, a sentence each.
    """
    rng = np.random.default_rng([seed, 5])
    chosen = [hosts[i] for i in sorted(rng.permutation(len(hosts))[:n_hosts].tolist())]
    found: dict[tuple[str, float], list[tuple[float, bool]]] = {
        (name, share): [] for name in ALTERATIONS for share in SHARES
    }
    notes: dict[str, None] = {}
    n_done, n_all = 0, len(chosen) * len(found)
    load = functools.lru_cache(maxsize=4)(lambda track: _load(setup, track))
    for host_id in chosen:
        host = load(host_id)
        for share in SHARES:
            passage = None
            if host is not None:
                length_s = share * len(host) / SAMPLE_RATE_HZ
                passage = _draw_passage(load, sources, length_s, rng)
            for number, name in enumerate(ALTERATIONS):
                n_done += 1
                if on_case is not None:
                    on_case(n_done, n_all)
                if host is None or passage is None:
                    continue
                place = np.random.default_rng([seed, n_done, number])
                try:
                    hit = _is_found(setup, host, passage, name, place)
                except AudioError:
                    continue
                except AuditError as error:  # a library that is not installed
                    notes[f"Not measured: {name}. {error}"] = None
                    continue
                found[name, share].append((len(passage) / SAMPLE_RATE_HZ, hit))
    rows = [_row(name, share, cases) for (name, share), cases in found.items() if cases]
    return tuple(rows), tuple(notes)


def _row(name: str, share: float, cases: Sequence[tuple[float, bool]]) -> Replication:
    n_found = sum(hit for _, hit in cases)
    low, high = wilson_interval(n_found, len(cases))
    mean_s = sum(seconds for seconds, _ in cases) / len(cases)
    return Replication(
        name, share, round(mean_s, 3), len(cases), n_found, round(low, 4), round(high, 4)
    )


def _load(setup: Setup, track_id: str) -> np.ndarray | None:
    path = setup.paths.get(track_id)
    if path is None:
        return None
    try:
        return load_waveform(path, duration_s=MAX_HOST_S)
    except (AudioError, OSError):
        return None


def _draw_passage(
    load: Callable[[str], np.ndarray | None],
    sources: Sequence[str],
    length_s: float,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """Return a passage of a training track that is long and loud enough, None for none."""
    n = round(length_s * SAMPLE_RATE_HZ)
    for i in rng.permutation(len(sources))[:10].tolist():
        waveform = load(sources[i])
        if waveform is None or len(waveform) < n or length_s < MIN_PASSAGE_S:
            continue
        start = int(rng.integers(0, len(waveform) - n + 1))
        passage = waveform[start : start + n]
        if float(np.sqrt(np.mean(passage**2))) >= _AUDIBLE:
            return passage
    return None


def put_into(
    host: np.ndarray, passage: np.ndarray, alteration: str, rng: np.random.Generator
) -> tuple[np.ndarray, float, float]:
    """Return a host with an altered passage at a random place, and where it starts and ends.

    Parameters
    ----------
    host, passage : numpy.ndarray
        (n,) and (m,) float32 at 16 kHz; the passage is cut if it is longer than the host.
    alteration : str
        One of ``ALTERATIONS``.
    rng : numpy.random.Generator

    Returns
    -------
    tuple of numpy.ndarray, float and float
        (n,) float32; start and end in seconds.
    """
    start_s = rng.uniform(0.0, max(0.0, (len(host) - len(passage)) / SAMPLE_RATE_HZ))
    first = round(start_s * SAMPLE_RATE_HZ)
    under = host[first : first + len(passage)]
    altered = ALTERATIONS[alteration](passage, under)[: len(host)]
    made = plant(altered, host, position_s=start_s)
    made = made / max(1.0, float(np.abs(made).max(initial=0.0)))
    first = min(first, len(host) - len(altered))
    return (
        made.astype(np.float32),
        first / SAMPLE_RATE_HZ,
        (first + len(altered)) / SAMPLE_RATE_HZ,
    )


def _is_found(
    setup: Setup, host: np.ndarray, passage: np.ndarray, name: str, rng: np.random.Generator
) -> bool:
    """Say whether a passage in a host is found at its place."""
    made, start_s, end_s = put_into(host, passage, name, rng)
    workspace = setup.workspace
    embedding = embed_waveform(made, [workspace.extractor])[workspace.weights_id]
    track = SegmentedTrack(
        "",
        len(made) / SAMPLE_RATE_HZ,
        embedding.dvectors,
        embedding.levels,
        waveform_spectrum(made),
    )
    with threadpool_limits(1, user_api="blas"):  # products of a pair are too small to share
        asking = [asking_track(setup.reader, track)] if setup.blocks else []
        result = search_segments(
            setup.reader,
            track,
            [setup.training],
            threshold=setup.threshold,
            by_spectra=spectral_hits(asking, setup.blocks) if asking else [],
        )
    for one in (r for found in result.found for r in found.ranges):
        shared_s = min(one.a_end_s, end_s) - max(one.a_start_s, start_s)
        shorter_s = min(one.a_end_s - one.a_start_s, end_s - start_s)
        if shared_s >= _MIN_OVERLAP * shorter_s:
            return True
    return False
