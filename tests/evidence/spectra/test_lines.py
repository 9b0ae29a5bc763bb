"""Lines in the spectra: what margins, and what repetition and chance do not make."""

from __future__ import annotations

import numpy as np
import pytest
from tunes import tune

from auditor.embedding.config import SPECTRUM
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.spectra import lines as spectral_lines
from auditor.evidence.spectra.lines import TrackSpectrum, agreed_lines, leading_line

N_BLOCK = 20


def music(n_frames, *, seed=0) -> np.ndarray:
    """Return levelled frames of which no two moments are alike."""
    return np.random.default_rng(seed).normal(0.0, 9.0, (n_frames, SPECTRUM.n_bands))


def drowned(frames, *, seed=9, noise=30.0) -> np.ndarray:
    return frames + np.random.default_rng(seed).normal(0.0, noise, frames.shape)


def test_a_stretch_is_found_where_no_block_of_it_tells():
    original = music(800)
    copy = drowned(original[200:600])
    found = leading_line(copy, original)
    assert found.offset == 200
    assert (found.first, found.last) == pytest.approx((0, 400), abs=2 * N_BLOCK)
    assert found.correlation == pytest.approx(9.0 / np.hypot(9.0, 30.0), abs=0.03)
    assert found.margin > 2.0


@pytest.mark.parametrize("seed", range(5))
def test_strangers_have_no_lead_worth_the_name(seed):
    found = leading_line(music(400, seed=seed), music(700, seed=seed + 50))
    assert found is None or found.margin < 0.2


@pytest.mark.parametrize("n", [350, 800])
def test_the_tracks_may_be_exchanged(n):
    original, copy = music(800), drowned(np.roll(music(800), -50, axis=0))[:n]
    one, other = leading_line(copy, original), leading_line(original, copy)
    assert one.margin == other.margin
    assert (other.first, other.last) == (one.first + one.offset, one.last + one.offset)
    assert other.offset == -one.offset


def test_what_repeats_does_not_lead():
    loop = np.tile(music(50), (16, 1))
    found = leading_line(loop, loop.copy())
    assert found.correlation == pytest.approx(1.0)
    assert found.margin == pytest.approx(0.0, abs=1e-3)
    twice = np.concatenate([music(400), music(400)])  # a verse that comes again in the original
    once = leading_line(music(400), twice)
    assert once.margin == pytest.approx(0.0, abs=1e-3)


def test_a_line_leads_by_what_others_lack_and_chance_counts_less_on_long_ones():
    original = music(900)
    margins = [leading_line(original[:n], original).margin for n in (100, 200, 400)]
    # 5, 10 and 20 blocks that agree wholly, where strangers reach a tenth
    assert margins == pytest.approx([5 * 0.9, 10 * 0.9, 20 * 0.9], rel=0.06)
    weak = [leading_line(drowned(original[:n]), original).margin for n in (200, 840)]
    assert weak[1] > 4.5 * weak[0]


def test_silence_agrees_with_nothing():
    assert leading_line(np.zeros((300, SPECTRUM.n_bands)), music(300)) is None


def test_too_short_or_too_long(monkeypatch):
    assert leading_line(music(N_BLOCK - 1), music(300)) is None
    assert leading_line(music(0), music(0)) is None
    monkeypatch.setattr(spectral_lines, "MAX_CELLS", 1000)
    assert leading_line(music(300), music(300)) is None
    assert list(agreed_lines(music(300), music(300))) == []


def test_agreed_lines_come_best_first_and_each_block_once():
    original = music(900)
    host = music(600, seed=3)
    host[100:300] = original[500:700]
    host[400:500] = original[40:140]
    found = list(agreed_lines(host, original))
    assert [offset for _, _, offset in found] == pytest.approx([400, -360], abs=1)
    (a, b, _), (c, d, _) = found
    assert (a, b, c, d) == pytest.approx((100, 300, 400, 500), abs=25)


@pytest.mark.parametrize(("n", "hop", "at_once"), [(10, 10, 1 << 20), (10, 10, 700), (12, 6, 1700)])
def test_blocksalong_lines_are_correlated_as_by_hand(monkeypatch, n, hop, at_once):
    monkeypatch.setattr(spectral_lines, "_AT_ONCE", at_once)  # all blocks, one, two at once
    a, b = music(45)[:, :8].astype(np.float32), music(70, seed=1)[:, :8].astype(np.float32)
    a[20:32], b[40:55], b[55:] = 0.01 * a[20:32], 0.1 * b[40:55], 0.0  # silent together, silent
    starts = np.arange(0, len(a) - n + 1, hop)
    values = spectral_lines.along_lines(a, b, starts, n)
    last = int(starts[-1])
    met, n_silent = np.zeros(values.shape, bool), 0
    for i, start in enumerate(starts.tolist()):
        for k in range(values.shape[1]):
            at = k - last + start
            expected = 0.0
            if met_b := 0 <= at <= len(b) - n:
                one, other = a[start : start + n], b[at : at + n]
                one, other = one - one.mean(axis=0), other - other.mean(axis=0)
                norm = np.sqrt((one**2).sum() * (other**2).sum())
                if norm >= spectral_lines._SILENT * n * 8:
                    expected = (one * other).sum() / norm
                n_silent += 0.0 < norm < spectral_lines._SILENT * n * 8
            met[i, k] = met_b
            assert values[i, k] == pytest.approx(expected, abs=1e-5)
    assert n_silent > 0
    for rows in (slice(None), slice(1, 3)):
        n_met = spectral_lines._n_met(starts[rows], last, values.shape[1], len(b) - n + 1)
        assert n_met.tolist() == met[rows].sum(axis=0).tolist()


def test_the_best_stretch_is_the_largest_sum_of_any():
    gains = np.random.default_rng(2).normal(-0.2, 1.0, (12, 30)).astype(np.float32)
    sums = {
        (first, last, column): float(gains[first:last, column].sum())
        for first in range(12)
        for last in range(first + 1, 13)
        for column in range(30)
    }
    assert spectral_lines._best_stretch(gains) == max(sums, key=sums.get)
    assert spectral_lines._best_stretch(np.full((3, 4), -1.0, np.float32)) == (0, 0, 0)


def test_levelled_at_another_tempo():
    spectrum = waveform_spectrum(tune(1, duration_s=20.0))
    assert TrackSpectrum(spectrum, 60.0).levelled().shape == spectrum.shape
    faster = TrackSpectrum(spectrum, 60.0).levelled(1.25)
    assert len(faster) == pytest.approx(len(spectrum) / 1.25, abs=1)
    np.testing.assert_allclose(faster[4], TrackSpectrum(spectrum, 60.0).levelled()[5], atol=1e-5)
    assert len(TrackSpectrum(spectrum[:0], 0.0).levelled(1.25)) == 0


@pytest.mark.parametrize("n", [0, 1, 2, 31])
def test_joined_frames_are_means_of_two(n):
    frames = music(n).astype(np.float32)
    expected = frames[: n // 2 * 2].reshape(n // 2, 2, frames.shape[1]).mean(axis=1)
    np.testing.assert_array_equal(spectral_lines._joined(frames), expected)
