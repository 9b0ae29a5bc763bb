"""Train the pitch model of the composition match on rendered scores.

First the salience network, on frames whose pitches are known; then the summary network, on the
pitches that the first one writes of two versions of each work.  A cohort of forty works is added.
Both stages save as they go and go on from there; each takes its share of the minutes given.

Examples
--------
::

    python benchmarks/pitch_training.py scores/train runs/pitches --minutes 60
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
import zlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from pitch_networks import SalienceNetwork, SummaryNetwork, pitch_class_logits, tensors_of
from safetensors.torch import load_file, save_file
from torch.nn import functional
from versions import Version, load

from auditor.embedding.salience import LOWEST_PITCH, N_PITCHES, PitchModel
from auditor.evidence.composition.pitches import STEP_S

N_FRAMES = 96
BATCH = 16
PEAK_RATE = 3e-3
N_COHORT, MIN_COHORT_ROWS, MAX_COHORT_ROWS = 40, 110, 180
SUMMARY_ROWS = 64


def is_held_out(version: Version) -> bool:
    """Say whether a version of the training side only validates."""
    return zlib.crc32(version.work.encode()) % 12 == 0


def draw_batch(
    versions: list[Version], rng: np.random.Generator, *, n: int = BATCH, altered: bool = True
) -> tuple[torch.Tensor, ...]:
    """Return spectra and labels of passages, drawn; altered ones are moved in pitch, filtered,
    and noisy.

    Returns
    -------
    tuple of torch.Tensor
        Spectra (n, N_FRAMES, 100); pitch classes (n, N_FRAMES // 2, 12); pitch of melody and bass,
        (n, N_FRAMES // 2); whether the melody is known, (n,).
    """
    spectra, every, melodies, basses, known = [], [], [], [], []
    for _ in range(n):
        version = versions[int(rng.integers(len(versions)))]
        start = int(rng.integers(0, len(version.spectrum) - N_FRAMES))
        span = slice(start, start + N_FRAMES)
        x = version.spectrum[span].astype(np.float32) - 160.0
        classes = version.pitch_classes[span].astype(np.float32)
        melody, bass = version.melody[span].astype(int), version.bass[span].astype(int)
        if altered:
            semitones = int(rng.integers(-5, 6))
            detuned = int(rng.integers(-1, 2)) if rng.random() < 0.3 else 0
            x = _moved(x, 2 * semitones + detuned)
            classes = np.roll(classes, semitones, 1)
            melody = np.where(melody > 0, melody + semitones, 0)
            bass = np.where(bass > 0, bass + semitones, 0)
            x = _recorded(x, rng)
        spectra.append(x)
        every.append(classes)
        melodies.append(melody)
        basses.append(bass)
        known.append(version.collection != "midi")  # which part is the melody is not known there
    pairs = N_FRAMES // 2
    melody = torch.tensor(np.stack(melodies)).view(n, pairs, 2).amax(2)
    bass = torch.tensor(np.stack(basses)).view(n, pairs, 2)
    return (
        torch.tensor(np.stack(spectra)).float(),
        torch.tensor(np.stack(every)).view(n, pairs, 2, 12).amax(2),
        melody,
        torch.where(bass[..., 1] > 0, bass[..., 1], bass[..., 0]),
        torch.tensor(known).float(),
    )


def _moved(x: np.ndarray, bands: int) -> np.ndarray:
    """Return a spectrum moved along the bands; what comes in is quieter than the last band."""
    if bands > 0:
        return np.concatenate([np.repeat(x[:, :1] - 20.0, bands, 1), x[:, :-bands]], 1)
    if bands < 0:
        return np.concatenate([x[:, -bands:], np.repeat(x[:, -1:] - 6.0, -bands, 1)], 1)
    return x


def _recorded(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    curve = np.interp(np.arange(x.shape[1]), np.linspace(0, x.shape[1] - 1, 6), rng.normal(0, 4, 6))
    x = x + curve.astype(np.float32)
    if rng.random() < 0.3:
        noise = x.max() - rng.uniform(20, 50) + rng.normal(0, 3, x.shape)
        x = 4.34 * np.logaddexp(x / 4.34, noise / 4.34)
    if rng.random() < 0.15:
        x[:, int(rng.integers(60, 95)) :] -= rng.uniform(10, 60)
    return x.astype(np.float32)


def losses(
    network: SalienceNetwork, batch: tuple[torch.Tensor, ...]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    """Return the losses of melody, bass and all pitch classes, and the melody's accuracy."""
    spectra, every, melody, bass, known = batch
    logits, none = network(spectra)
    of_melody = torch.cat([logits[..., 0], none[..., :1]], -1)
    absent = torch.full_like(melody, N_PITCHES)
    wanted = torch.where(melody > 0, (melody - LOWEST_PITCH).clamp(0, N_PITCHES - 1), absent)
    each = functional.cross_entropy(
        of_melody.flatten(0, 1), wanted.flatten(), reduction="none"
    ).view(wanted.shape)
    weight = known[:, None].expand_as(each)
    melody_loss = (each * weight).sum() / weight.sum().clamp(min=1)
    of_bass = torch.cat([pitch_class_logits(logits[..., 1]), none[..., 1:]], -1)
    bass_wanted = torch.where(bass > 0, bass % 12, torch.full_like(bass, 12))
    bass_loss = functional.cross_entropy(of_bass.flatten(0, 1), bass_wanted.flatten())
    all_loss = functional.binary_cross_entropy_with_logits(
        pitch_class_logits(logits[..., 2]), every
    )
    right = (of_melody.argmax(-1) == wanted)[known > 0].float().mean()
    return melody_loss, bass_loss, all_loss, float(right)


def train_salience(versions: list[Version], path: Path, *, minutes: float) -> SalienceNetwork:
    """Train the first network, or load it where it was trained before."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = SalienceNetwork()
    if path.exists():
        network.load_state_dict(load_file(path))
        return network
    usable = [v for v in versions if len(v.spectrum) > N_FRAMES + 4]
    held = [v for v in usable if is_held_out(v)]
    usable = [v for v in usable if not is_held_out(v)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=1e-4)
    started, step = time.monotonic(), 0
    while (share := (time.monotonic() - started) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = PEAK_RATE * min(1.0, step / 100) * 0.5 * (1 + math.cos(math.pi * share))
            group["lr"] += 1e-5
        network.train()
        melody, bass, every, _ = losses(network, draw_batch(usable, rng))
        loss = melody + 0.6 * bass + 2 * every
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 200 == 0:
            network.eval()
            fixed = np.random.default_rng(5)
            with torch.no_grad():
                found = [losses(network, draw_batch(held, fixed, altered=False)) for _ in range(8)]
            print(step, [round(float(np.mean([f[k] for f in found])), 3) for k in range(4)])
    save_at_once(network, path)
    return network


def save_at_once(network: torch.nn.Module, path: Path) -> None:
    """Write the weights in one step."""
    part = path.with_suffix(".part")
    save_file(network.state_dict(), part)
    part.rename(path)


def draw_windows(
    works: list[list[tuple[Version, np.ndarray]]], rng: np.random.Generator, *, n: int
) -> torch.Tensor:
    """Return the same 25 s or so of two versions of each of n works, (2 n, SUMMARY_ROWS, 36)."""
    windows = []
    for k in rng.permutation(len(works))[:n]:
        two = works[k]
        quarters = min(len(rows) * STEP_S / version.quarter_s for version, rows in two)
        at = rng.uniform(0, max(0.1, quarters - 30 / two[0][0].quarter_s))
        for version, rows in two:
            window = _window(version, rows, at, rng.uniform(0.85, 1.18), rng)
            if rng.random() < 0.3:
                window[:, 12:24] = 0
            if rng.random() < 0.2:
                window[:, 24:] = window[:, :12]
            window = window * rng.uniform(0.7, 1.2) + rng.normal(0, 0.03, window.shape)
            windows.append(window)
    return torch.tensor(np.stack(windows), dtype=torch.float32)


def _window(
    version: Version, rows: np.ndarray, at: float, stretch: float, rng: np.random.Generator
) -> np.ndarray:
    scaled = rows[:, :36].astype(np.float32) / 255
    length = int(SUMMARY_ROWS * stretch)
    start = int(at * version.quarter_s / STEP_S + rng.integers(-3, 4))
    start = max(0, min(start, len(scaled) - length))
    part = scaled[start : start + length]
    part = np.pad(part, ((0, length - len(part)), (0, 0)))
    part = part[np.clip((np.arange(SUMMARY_ROWS) * stretch).astype(int), 0, length - 1)]
    turned = np.roll(part.reshape(SUMMARY_ROWS, 3, 12), int(rng.integers(12)), 2)
    return turned.reshape(SUMMARY_ROWS, 36)


def train_summary(
    works: list[list[tuple[Version, np.ndarray]]], path: Path, *, minutes: float
) -> SummaryNetwork:
    """Train the second network so that two versions of a work lie together, or load it."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    network = SummaryNetwork()
    if path.exists():
        network.load_state_dict(load_file(path))
        return network
    held, used = works[::12], [work for k, work in enumerate(works) if k % 12]
    sharpness = torch.nn.Parameter(torch.tensor(2.5))
    optimiser = torch.optim.AdamW([*network.parameters(), sharpness], lr=2e-3, weight_decay=1e-3)
    started, step = time.monotonic(), 0
    while (share := (time.monotonic() - started) / 60 / minutes) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 50) * 0.5 * (1 + math.cos(math.pi * share))
            group["lr"] += 1e-5
        network.train()
        loss = pair_loss(network(draw_windows(used, rng, n=48)), sharpness)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        step += 1
        if step % 100 == 0:
            network.eval()
            with torch.no_grad():
                vectors = network(draw_windows(held, np.random.default_rng(7), n=len(held)))
            near = (vectors @ vectors.T - 10 * torch.eye(len(vectors))).argmax(1)
            hits = (near == (torch.arange(len(vectors)) ^ 1)).float().mean()
            print(step, round(float(loss.detach()), 3), f"top-1 {float(hits):.3f} of {len(held)}")
    save_at_once(network, path)
    return network


def pair_loss(vectors: torch.Tensor, sharpness: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of finding the other version of each work among all."""
    n = len(vectors)
    likeness = vectors @ vectors.T * sharpness.exp() - 1e4 * torch.eye(n)
    return functional.cross_entropy(likeness, torch.arange(n) ^ 1)


def main() -> None:
    """Write ``pitches-<hash>.safetensors``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("versions", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    versions = load(args.versions)
    salience = train_salience(
        versions, args.out / "salience.safetensors", minutes=0.75 * args.minutes
    )
    model = PitchModel(tensors_of(salience, SummaryNetwork()), ())
    by_work: dict[str, list[tuple[Version, np.ndarray]]] = defaultdict(list)
    for version in versions:
        by_work[version.work].append((version, model.pitches(version.spectrum)))
    twos = [
        two
        for two in by_work.values()
        if len(two) == 2 and min(len(rows) for _, rows in two) >= SUMMARY_ROWS + 6
    ]
    summary = train_summary(twos, args.out / "summary.safetensors", minutes=0.25 * args.minutes)
    ordered = sorted(by_work, key=lambda work: hashlib.sha256(work.encode()).hexdigest())
    rows = [by_work[work][0][1] for work in ordered]
    cohort = [each[:MAX_COHORT_ROWS] for each in rows if len(each) >= MIN_COHORT_ROWS][:N_COHORT]
    named = "".join(sorted(by_work)).encode()
    facts: dict[str, object] = {
        "works": len(by_work),
        "hours": round(sum(len(v.spectrum) for v in versions) * 0.096 / 3600, 1),
        "works_sha256": hashlib.sha256(named).hexdigest(),
        "minutes": args.minutes,
    }
    model = PitchModel(tensors_of(salience, summary), tuple(cohort), summary=facts)
    path = model.save(args.out)
    print(json.dumps(facts), path)


if __name__ == "__main__":
    main()
