"""Music that has a sound in common and nothing else, scanned by itself at the default budget."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import witness

from auditor.api.scan import scan
from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.decode import write_audio
from auditor.augment.voices import speak
from auditor.evidence.match_score import LOWEST_THRESHOLD
from auditor.ingest.session import ingest
from auditor.workspace import open_workspace

N = 60 * SAMPLE_RATE_HZ


def tracks(seed: int) -> dict[str, np.ndarray]:
    """Return two tracks of each trap; ``intro`` has the first 8 s in common."""
    rng = np.random.default_rng(seed)
    preset, others = rng.uniform(0.0, 1.0, (2, 8)) / np.arange(1, 9)
    loop = np.resize(witness.drum_loop(rng), N + 40_000)
    speech = speak(8 * SAMPLE_RATE_HZ, rng)
    made = {
        "preset": [witness.melody(preset, rng, N) for _ in range(2)],
        "loop": [loop[:N], loop[40_000:]],
        "drone": [witness.drone(pair, rng, N) for pair in ((110.0, 165.0), (98.0, 147.0))],
        "same drone": [witness.drone((220.0, 330.0), rng, N) for _ in range(2)],
        "noise": [0.1 * rng.standard_normal(N).astype(np.float32) for _ in range(2)],
        "silence": [np.zeros(N, np.float32)] * 2,
        "metronome": [witness.metronome(120.0, N), witness.metronome(120.0, N - 9_000)],
        "piano": [witness.piano(rng, N, tonic=57, minor=True) for _ in range(2)],
        "intro": [
            np.concatenate([speech, melody])
            for melody in (
                witness.melody(others, rng, N),
                witness.piano(rng, N, tonic=62, minor=False),
            )
        ],
    }
    return {f"{name} {n}.wav": track for name, pair in made.items() for n, track in enumerate(pair)}


@pytest.mark.parametrize("seed", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_only_what_was_copied_is_flagged(tmp_path: Path, seed: int):
    library = tmp_path / "library"
    library.mkdir()
    for name, track in tracks(seed).items():
        write_audio(library / name, track, codec="wav")
    with open_workspace(tmp_path / "ws", extractor="excerpt", write=True) as workspace:
        ingest(workspace, [library])
        result = scan(workspace)
    assert result.threshold.threshold == LOWEST_THRESHOLD
    of = {track.id: Path(track.path).name for track in result.tracks}
    flagged = [pair for pair in result.pairs if pair.flagged]
    assert {frozenset((of[p.a], of[p.b])) for p in flagged} == {
        frozenset(("intro 0.wav", "intro 1.wav"))
    }
    assert flagged[0].verdict == "shared excerpt"
    for found in flagged[0].evidence.ranges:
        times = found.a_start_s, found.a_end_s, found.b_start_s, found.b_end_s
        assert times == pytest.approx((0.0, 8.0, 0.0, 8.0), abs=2.0)
