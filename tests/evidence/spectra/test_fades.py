"""A range reaches into the fades of a mix, as far as its track is heard, and no further."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from synthetic_music import synthesise_track

from auditor.audio import SAMPLE_RATE_HZ
from auditor.embedding.spectrogram import waveform_spectrum
from auditor.evidence.spectra.fades import REACH_S, reach_into_fades
from auditor.records import MatchedRange

FADE_S, FIRST_S, SECOND_S = 10.0, 50.0, 60.0
"""The first track plays alone up to 40 s, the second from 50 s; the fade lies between."""


def track(seed: int) -> np.ndarray:
    return np.asarray(synthesise_track(seed, duration_s=80.0), np.float32)


@pytest.fixture(scope="module")
def spectra() -> dict[str, np.ndarray]:
    """Return the spectra of two tracks, and of mixes with a fade and with a cut at 45 s."""
    first, second = (w / np.sqrt(np.mean(w**2)) * 0.1 for w in (track(3), track(4)))
    n_first, n_fade = (round(s * SAMPLE_RATE_HZ) for s in (FIRST_S, FADE_S))
    ramp = np.linspace(0.0, np.pi / 2, n_fade, dtype=np.float32)
    one, other = first[:n_first].copy(), second[: round(SECOND_S * SAMPLE_RATE_HZ)].copy()
    one[-n_fade:] *= np.cos(ramp)
    other[:n_fade] *= np.sin(ramp)
    faded = np.zeros(n_first - n_fade + len(other), np.float32)
    faded[:n_first] += one
    faded[n_first - n_fade :] += other
    middle = n_first - n_fade // 2
    cut = np.concatenate([first[:middle], second[n_fade // 2 :]])
    rng = np.random.default_rng(0)
    voice = rng.normal(0.0, 0.1, len(first)) * np.repeat(
        rng.random(len(first) // 3200) > 0.35, 3200
    )
    voice[: 20 * SAMPLE_RATE_HZ] = 0.0
    named = {
        "voice": (first + voice).astype(np.float32),
        "first": first,
        "second": second,
        "faded": faded,
        "cut": cut,
    }
    return {name: waveform_spectrum(waveform) for name, waveform in named.items()}


def found(start_s: float, end_s: float, offset_s: float = 0.0) -> MatchedRange:
    """Return a range found up to the middle of the fade."""
    return MatchedRange(
        start_s, end_s, start_s - offset_s, end_s - offset_s, 1.0, 0.9, 0.0, 0.0, 0.9, 0.9
    )


def test_a_range_reaches_into_a_fade(spectra):
    out = reach_into_fades(found(0.0, 45.0), spectra["faded"], spectra["first"])
    assert 47.0 < out.a_end_s < 52.0
    assert (out.a_start_s, out.b_start_s) == (0.0, 0.0)
    assert out.b_end_s == pytest.approx(out.a_end_s)
    come = reach_into_fades(found(45.0, 95.0, 40.0), spectra["faded"], spectra["second"])
    assert 38.0 < come.a_start_s < 43.0
    assert come.b_start_s == pytest.approx(come.a_start_s - 40.0)


def test_a_known_neighbour_shows_more_of_a_fade(spectra):
    first, second = found(0.0, 45.0), found(45.0, 95.0, 40.0)
    out = reach_into_fades(first, spectra["faded"], spectra["first"], [(second, spectra["second"])])
    assert FIRST_S - 1.0 <= out.a_end_s <= FIRST_S + 0.5
    come = reach_into_fades(
        second, spectra["faded"], spectra["second"], [(first, spectra["first"])]
    )
    assert 39.5 <= come.a_start_s <= 41.0


def test_a_track_is_followed_under_a_voice(spectra):
    """From 20 s on, something like a voice is as loud as the track: longer than one reach."""
    grown = reach_into_fades(found(0.0, 20.0), spectra["voice"], spectra["first"])
    assert grown.a_end_s > 20.0 + 2 * REACH_S


def test_a_range_does_not_grow_beyond_a_cut(spectra):
    out = reach_into_fades(found(0.0, 45.0), spectra["cut"], spectra["first"])
    assert out.a_end_s == pytest.approx(45.0, abs=1.5)


def test_a_range_stays_inside_both_tracks(spectra):
    for length_s in (6.0, 45.0):
        out = reach_into_fades(found(45.0 - length_s, 45.0), spectra["faded"], spectra["first"])
        assert 0.0 <= out.a_start_s <= 45.0 - length_s
        assert out.b_start_s >= 0.0
        assert out.a_end_s <= 45.0 + REACH_S
    short = spectra["first"][: len(spectra["first"]) * 46 // 80]
    assert reach_into_fades(found(0.0, 45.0), spectra["faded"], short).b_end_s <= 46.1
    whole = found(0.0, 80.0)
    assert reach_into_fades(whole, spectra["first"], spectra["first"]) == whole


def test_another_track_adds_nothing(spectra):
    there = dataclasses.replace(found(50.0, 90.0, 30.0))
    grown = reach_into_fades(there, spectra["second"], spectra["first"])
    assert there.a_start_s - grown.a_start_s < 3.0
    assert grown.a_end_s - there.a_end_s < 3.0
