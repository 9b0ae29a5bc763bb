"""Evidence of long tracks, part by part, is that of the whole."""

from __future__ import annotations

import numpy as np
import pytest

import auditor.evidence.alignment.aligner
from auditor.evidence.alignment.aligner import Examiner
from auditor.evidence.alignment.ranges import find_evidence
from auditor.records import Evidence

HOP_S, WINDOW_S = 0.8, 3.2


def rows(n: int, seed: int) -> np.ndarray:
    """Return (n, 64) unit rows of which neighbours are alike, as those of music are."""
    steps = np.cumsum(np.random.default_rng(seed).standard_normal((n + 4, 64)), axis=0)
    found = steps[4:] - steps[:-4]
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def examiner(**tracks: np.ndarray) -> Examiner:
    def read(name):
        n = len(tracks[name])
        return tracks[name], np.zeros(n, np.float16), (n - 1) * HOP_S + WINDOW_S

    return Examiner(read, hop_s=HOP_S, window_s=WINDOW_S)


def compare(tracks: Examiner, a: str, b: str) -> Evidence:
    return tracks.evidence(tracks.track(a), tracks.track(b))


def test_short_tracks_are_compared_as_they_are():
    a, b = rows(80, 1), rows(90, 2)
    b[20:60] = a[30:70]
    found = compare(examiner(a=a, b=b), "a", "b")
    levels = {"a_levels": np.zeros(80), "b_levels": np.zeros(90)}
    assert found == find_evidence(a, b, hop_s=HOP_S, window_s=WINDOW_S, **levels)
    assert found.ranges[0].a_start_s == pytest.approx(30 * HOP_S, abs=2.0)


def test_parts_are_joined_to_what_the_whole_has(monkeypatch):
    a, b = rows(2600, 1), rows(400, 2)
    b[50:350] = a[900:1200]  # reaches over the border of two parts
    whole = compare(examiner(a=a, b=b), "a", "b")
    monkeypatch.setattr(auditor.evidence.alignment.aligner, "MAX_CELLS", 1 << 18)
    for names in (("a", "b"), ("b", "a")):
        parts = compare(examiner(a=a, b=b), *names)
        (found,) = parts.ranges
        starts = (found.a_start_s, found.b_start_s)[:: 1 if names[0] == "a" else -1]
        assert starts == pytest.approx(
            (whole.ranges[0].a_start_s, whole.ranges[0].b_start_s), abs=1
        )
        ends = (found.a_end_s, found.b_end_s)[:: 1 if names[0] == "a" else -1]
        assert ends == pytest.approx((whole.ranges[0].a_end_s, whole.ranges[0].b_end_s), abs=1)
        assert parts.score == pytest.approx(whole.score, abs=0.05)
        shares = (parts.share_a, parts.share_b)[:: 1 if names[0] == "a" else -1]
        assert shares == pytest.approx((whole.share_a, whole.share_b), abs=0.01)


def test_two_long_tracks_are_both_cut(monkeypatch):
    monkeypatch.setattr(auditor.evidence.alignment.aligner, "MAX_CELLS", 1 << 18)
    a, b = rows(1500, 1), rows(1400, 2)
    b[600:640] = a[1100:1140]
    found = compare(examiner(a=a, b=b), "a", "b")
    assert found.ranges[0].a_start_s == pytest.approx(1100 * HOP_S, abs=2.0)
    assert found.ranges[0].b_start_s == pytest.approx(600 * HOP_S, abs=2.0)


def test_a_track_without_a_window_shares_nothing():
    tracks = examiner(a=rows(30, 1), none=np.zeros((0, 64), np.float32))
    for names in (("a", "none"), ("none", "a"), ("none", "none")):
        assert compare(tracks, *names) == Evidence(-1.0, (), 0.0, 0.0, 1.0, 0.0)
