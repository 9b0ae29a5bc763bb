"""Every alteration does what it says, by measurement."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import correlate, welch

from auditor.augment.alterations import ALTERATIONS
from auditor.augment.voices import crowd, speak
from auditor.augment.waveform import (
    add_noise,
    babble,
    band_limit,
    change_speed,
    clip,
    codec,
    compress,
    crop,
    equalise,
    fade,
    gain,
    mix,
    plant,
    reverberate,
    shift_pitch,
    stretch_time,
    voice_over,
)

RATE = 16_000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def noise(duration_s: float, seed: int = 0) -> np.ndarray:
    return rng(seed).normal(0.0, 0.1, round(duration_s * RATE)).astype(np.float32)


def tone(duration_s: float, hz: float = 440.0) -> np.ndarray:
    time_s = np.arange(round(duration_s * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def clicks(duration_s: float, every_s: float = 0.5) -> np.ndarray:
    waveform = np.zeros(round(duration_s * RATE), dtype=np.float32)
    for start in range(0, len(waveform) - 400, round(every_s * RATE)):
        waveform[start : start + 400] = 0.5 * np.hanning(400) * noise(400 / RATE) / 0.1
    return waveform


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def decibel(ratio: float) -> float:
    return 20.0 * float(np.log10(ratio))


def peak_hz(waveform: np.ndarray) -> float:
    middle = waveform[len(waveform) // 4 : -len(waveform) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 19))
    return float(spectrum.argmax()) * RATE / (1 << 19)


def band_db(waveform: np.ndarray, low_hz: float, high_hz: float) -> float:
    hz, power = welch(waveform, RATE, nperseg=2048)
    return 10.0 * float(np.log10(power[(hz >= low_hz) & (hz < high_hz)].mean()))


@pytest.mark.parametrize(
    ("name", "bit_rate"), [("mp3", 32_000), ("opus", 24_000), ("aac", 48_000), ("ogg", 64_000)]
)
def test_codec_changes_the_samples_and_little_else(name, bit_rate):
    source = band_limit(noise(4.0), low_hz=100, high_hz=3000)
    copy = codec(source, name, bit_rate)
    assert copy.shape == source.shape
    assert not np.allclose(copy, source, atol=1e-3)
    correlation = correlate(copy, source, method="fft")
    assert abs(int(correlation.argmax()) - (len(source) - 1)) <= 16  # within a millisecond
    assert correlation.max() / (len(source) * rms(copy) * rms(source)) > 0.7
    assert decibel(rms(copy) / rms(source)) == pytest.approx(0.0, abs=2.0)


def test_a_lower_bit_rate_costs_more():
    source = noise(4.0)
    errors = [rms(codec(source, "mp3", kbit * 1000) - source) for kbit in (160, 64, 16)]
    assert errors[0] < errors[1] < errors[2]


def test_codec_refuses_unknown_names():
    with pytest.raises(ValueError, match="codec is 'midi'"):
        codec(noise(0.5), "midi", 32_000)


@given(st.floats(-60.0, 20.0))
def test_gain_is_exact(gain_db):
    assert decibel(rms(gain(noise(0.1), gain_db)) / rms(noise(0.1))) == pytest.approx(
        gain_db, abs=1e-3
    )


@pytest.mark.parametrize(("bass_db", "treble_db"), [(10.0, -10.0), (-12.0, 6.0), (0.0, 0.0)])
def test_shelves_reach_their_gain(bass_db, treble_db):
    source = noise(10.0)
    altered = equalise(source, bass_db=bass_db, treble_db=treble_db)
    for low_hz, high_hz, wanted_db in ((20, 60, bass_db), (700, 900, 0), (6500, 7900, treble_db)):
        change_db = band_db(altered, low_hz, high_hz) - band_db(source, low_hz, high_hz)
        assert change_db == pytest.approx(wanted_db, abs=1.0)


def test_band_limit_keeps_the_band_and_nothing_else():
    altered = band_limit(noise(10.0), low_hz=250, high_hz=3000)
    inside = band_db(altered, 400, 2500)
    assert inside == pytest.approx(band_db(noise(10.0), 400, 2500), abs=0.5)
    assert band_db(altered, 20, 125) < inside - 30
    assert band_db(altered, 6000, 7900) < inside - 30
    with pytest.raises(ValueError, match="the band is 3000 to 250 Hz"):
        band_limit(noise(1.0), low_hz=3000, high_hz=250)


@pytest.mark.parametrize("snr_db", [10.0, 0.0, -3.0])
@pytest.mark.parametrize("colour", ["white", "pink"])
def test_noise_has_its_ratio_and_colour(snr_db, colour):
    source = tone(10.0)
    added = add_noise(source, rng(), snr_db=snr_db, colour=colour) - source
    assert decibel(rms(source) / rms(added)) == pytest.approx(snr_db, abs=0.01)
    per_octave_db = (band_db(added, 2000, 4000) - band_db(added, 125, 250)) / 4
    assert per_octave_db == pytest.approx(-3.0 if colour == "pink" else 0.0, abs=0.4)


def test_noise_of_another_colour_is_refused():
    with pytest.raises(ValueError, match="colour is 'brown'"):
        add_noise(noise(0.1), rng(), snr_db=0, colour="brown")


@given(st.floats(-40.0, 20.0), st.integers(1, 5000))
def test_mix_adds_at_its_level(level_db, n_other):
    source, other = noise(0.1), noise(1.0, seed=1)[:n_other]
    mixed = mix(source, other, level_db=level_db)
    assert len(mixed) == len(source)
    assert decibel(rms(mixed - source) / rms(source)) == pytest.approx(level_db, abs=0.05)


def test_mix_with_silence_or_nothing_changes_nothing():
    for other in (np.zeros(100, np.float32), np.zeros(0, np.float32)):
        np.testing.assert_array_equal(mix(noise(0.1), other, level_db=0.0), noise(0.1))
    silent = np.zeros(1600, np.float32)
    np.testing.assert_array_equal(mix(silent, noise(0.1), level_db=0.0), silent)


def test_babble_and_voice_have_their_level():
    source = noise(6.0)
    added = babble(source, rng(), snr_db=5.0) - source
    assert decibel(rms(source) / rms(added)) == pytest.approx(5.0, abs=0.01)
    added = voice_over(source, rng(), level_db=-3.0) - source
    assert decibel(rms(added) / rms(source)) == pytest.approx(-3.0, abs=0.01)


def envelope(waveform: np.ndarray) -> np.ndarray:
    """RMS of every 20 ms."""
    return np.sqrt(np.mean(waveform[: len(waveform) // 320 * 320].reshape(-1, 320) ** 2, axis=1))


def test_a_voice_is_speech_like():
    voice = speak(20 * RATE, rng(3))
    assert rms(voice) == pytest.approx(0.1, rel=1e-3)
    assert band_db(voice, 100, 1000) > band_db(voice, 4000, 7900) + 15
    level = envelope(voice)
    assert np.quantile(level, 0.05) < 0.1 * np.quantile(level, 0.9)  # gaps between syllables
    rhythm = np.abs(np.fft.rfft(level - level.mean()))
    hz = np.fft.rfftfreq(len(level), 0.02)
    assert rhythm[(hz > 1) & (hz < 8)].mean() > 2 * rhythm[(hz > 12)].mean()
    voiced = voice[level.argmax() * 320 :][:1600]
    own = correlate(voiced, voiced, method="fft")[len(voiced) - 1 :]
    assert own[RATE // 320 : RATE // 60].max() > 0.4 * own[0]  # a pitch


def test_a_crowd_is_steadier_than_a_voice():
    one, many = envelope(speak(10 * RATE, rng())), envelope(crowd(10 * RATE, rng()))
    assert many.std() / many.mean() < 0.6 * one.std() / one.mean()
    with pytest.raises(ValueError, match="n_voices is 0"):
        crowd(100, rng(), n_voices=0)


def test_speech_of_any_length():
    for n_samples in (0, 1, 2, 333, 5000):
        for make in (speak, crowd):
            assert make(n_samples, rng()).shape == (n_samples,)
            assert np.isfinite(make(n_samples, rng())).all()


@pytest.mark.parametrize("rt60_s", [0.6, 1.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_room_decays_in_its_time(rt60_s, seed):
    impulse = np.zeros(4 * RATE, dtype=np.float32)
    impulse[0] = 1.0
    response = reverberate(impulse, rng(seed), rt60_s=rt60_s).astype(np.float64)
    assert np.argmax(np.abs(response)) == 0
    decay_db = 10 * np.log10(np.cumsum(response[::-1] ** 2)[::-1] / np.sum(response**2) + 1e-15)
    start, stop = (int(np.argmax(decay_db < limit)) for limit in (-10.0, -30.0))
    assert 3 * (stop - start) / RATE == pytest.approx(rt60_s, rel=0.15)
    direct, tail = response[0] ** 2, np.sum(response[1:] ** 2)
    assert 10 * np.log10(direct / tail) == pytest.approx(0.0, abs=0.5)


def test_a_room_keeps_level_and_length():
    source = noise(3.0)
    altered = reverberate(source, rng(), rt60_s=1.0)
    assert altered.shape == source.shape
    assert rms(altered) == pytest.approx(rms(source), rel=1e-3)
    with pytest.raises(ValueError, match="rt60_s is 0"):
        reverberate(source, rng(), rt60_s=0)


def test_compression_evens_out_levels():
    source = np.concatenate([noise(2.0), gain(noise(2.0, seed=1), -20.0), noise(2.0, seed=2)])
    altered = compress(source, threshold_db=-25.0, ratio=10.0)
    assert altered.shape == source.shape
    assert rms(altered) == pytest.approx(rms(source), rel=1e-3)
    loud, quiet = altered[RATE : 2 * RATE], altered[3 * RATE : 4 * RATE]
    assert decibel(rms(loud) / rms(quiet)) == pytest.approx(2.0, abs=1.5)  # 20 dB / 10


def test_compression_of_one_to_one_or_of_silence_changes_nothing():
    np.testing.assert_allclose(compress(noise(1.0), ratio=1.0), noise(1.0), rtol=1e-4)
    assert not compress(np.zeros(1600, np.float32)).any()


def test_compression_does_not_depend_on_the_level():
    quiet = compress(gain(noise(1.0), -20.0))
    np.testing.assert_allclose(gain(quiet, 20.0), compress(noise(1.0)), rtol=1e-3, atol=1e-6)


def test_clipping_stops_at_its_level():
    altered = clip(noise(1.0), headroom_db=3.0)
    limit = 0.1 * 10 ** (3 / 20)
    assert np.abs(altered).max() == pytest.approx(limit, rel=0.02)
    inside = np.abs(noise(1.0)) < 0.97 * limit
    np.testing.assert_array_equal(altered[inside], noise(1.0)[inside])
    assert 0.05 < 1 - inside.mean() < 0.3


@pytest.mark.parametrize("ratio", [0.75, 0.97, 1.03, 1.06, 1.25])
def test_speed_moves_pitch_and_tempo_together(ratio):
    altered = change_speed(tone(4.0), ratio)
    assert len(altered) == pytest.approx(4 * RATE / ratio, abs=2)
    assert peak_hz(altered) == pytest.approx(440 * ratio, rel=1e-3)
    assert rms(altered) == pytest.approx(rms(tone(4.0)), rel=0.01)


@pytest.mark.parametrize("semitones", [-4, -2, -1, 1, 2, 4, 0.5])
def test_pitch_moves_by_its_semitones_and_time_stays(semitones):
    pytest.importorskip("python_stretch")
    altered = shift_pitch(tone(4.0), semitones)
    assert altered.shape == tone(4.0).shape
    assert 12 * np.log2(peak_hz(altered) / 440) == pytest.approx(semitones, abs=0.15)
    beat = clicks(6.0)
    correlation = correlate(envelope(shift_pitch(beat, semitones)), envelope(beat))
    assert abs(int(correlation.argmax()) - (len(envelope(beat)) - 1)) <= 1


@pytest.mark.parametrize("ratio", [0.8, 0.9, 1.05, 1.2])
def test_tempo_moves_by_its_ratio_and_pitch_stays(ratio):
    pytest.importorskip("python_stretch")
    altered = stretch_time(tone(4.0), ratio)
    assert len(altered) == round(4 * RATE / ratio)
    assert peak_hz(altered) == pytest.approx(440.0, rel=2e-3)
    level = envelope(stretch_time(clicks(12.0), ratio))
    rhythm = np.abs(np.fft.rfft((level - level.mean()) * np.hanning(len(level)), 1 << 16))
    hz = np.fft.rfftfreq(1 << 16, 0.02)
    beat = (hz > 1) & (hz < 3)
    assert hz[beat][rhythm[beat].argmax()] == pytest.approx(2.0 * ratio, rel=0.03)


def test_ratios_out_of_range_are_refused():
    with pytest.raises(ValueError, match=r"ratio is 3\.0"):
        change_speed(noise(1.0), 3.0)
    with pytest.raises(ValueError, match=r"ratio is 0\.1"):
        stretch_time(noise(1.0), 0.1)
    with pytest.raises(ValueError, match=r"semitones is 13\.0"):
        shift_pitch(noise(1.0), 13.0)


def test_a_missing_stretcher_is_named(monkeypatch):
    import sys

    from auditor.errors import AuditError

    monkeypatch.setitem(sys.modules, "python_stretch", None)
    with pytest.raises(AuditError, match=r"pip install 'auditor\[augment\]'"):
        shift_pitch(noise(1.0), 1.0)


def test_crop_and_fade():
    source = noise(10.0)
    np.testing.assert_array_equal(crop(source, start_s=2.0, duration_s=3.0), source[32000:80000])
    assert len(crop(source, start_s=9.0, duration_s=3.0)) == RATE
    faded = fade(np.ones(10 * RATE, np.float32), in_s=2.0, out_s=3.0, silence_s=1.5)
    assert len(faded) == 13 * RATE
    assert not faded[: round(1.5 * RATE)].any()
    assert not faded[-round(1.5 * RATE) :].any()
    assert faded[round(2.5 * RATE)] == pytest.approx(0.5, abs=1e-3)
    assert faded[6 * RATE] == 1.0
    assert faded[-3 * RATE] == pytest.approx(0.5, abs=1e-3)
    assert len(fade(source[:100], silence_s=0.0)) == 100


def test_a_planted_excerpt_lies_where_it_was_put():
    excerpt, host = noise(2.0), 0.2 * noise(8.0, seed=5)
    planted = plant(excerpt, host, position_s=3.0)
    assert planted.shape == host.shape
    np.testing.assert_array_equal(planted[: 3 * RATE], host[: 3 * RATE])
    np.testing.assert_array_equal(planted[5 * RATE :], host[5 * RATE :])
    inside = planted[round(3.1 * RATE) : round(4.9 * RATE)]
    assert np.corrcoef(inside, excerpt[round(0.1 * RATE) : round(1.9 * RATE)])[0, 1] > 0.9999
    assert rms(inside) == pytest.approx(rms(host), rel=0.03)
    np.testing.assert_array_equal(
        plant(excerpt, host, position_s=99.0)[: 6 * RATE], host[: 6 * RATE]
    )
    with pytest.raises(ValueError, match="other has 16000 samples, the excerpt 32000"):
        plant(excerpt, noise(1.0), position_s=0.0)


# The table of the benchmark


@pytest.fixture(scope="module")
def music() -> np.ndarray:
    beat = clicks(34.0)
    return 0.5 * beat + 0.3 * tone(34.0, 330.0) + 0.1 * noise(34.0)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_every_row_is_deterministic_and_bounded(name, music):
    if name.startswith(("pitch", "tempo")):
        pytest.importorskip("python_stretch")
    alteration = ALTERATIONS[name]
    assert alteration.name == name
    if name not in ("crop30", "planted"):  # those need 30 s
        music = music[: 12 * RATE]
    other = noise(20.0, seed=9)
    before = music.copy()
    copy = alteration(music, rng(4), other)
    np.testing.assert_array_equal(music, before)
    np.testing.assert_array_equal(copy, alteration(music, rng(4), other))
    assert copy.dtype == np.float32
    assert np.isfinite(copy).all()
    assert rms(copy) > 0.001
    assert np.abs(copy).max() <= 1.0
    assert len(copy) != len(music) or not np.allclose(copy, music, atol=1e-4)


def test_rows_have_the_lengths_they_claim(music):
    lengths = {"crop10": 10, "crop30": 30, "fades": 40, "planted": 20, "everything": 34 / 1.04}
    for name, seconds in lengths.items():
        copy = ALTERATIONS[name](music, rng(), noise(20.0))
        assert len(copy) == pytest.approx(seconds * RATE, abs=10)


def test_the_table_is_that_of_the_benchmark():
    assert len(ALTERATIONS) == 37
    groups = [alteration.group for alteration in ALTERATIONS.values()]
    assert {group: groups.count(group) for group in set(groups)} == {
        "light": 11,
        "medium": 16,
        "heavy": 9,
        "planted": 1,
    }
    assert {a.name for a in ALTERATIONS.values() if a.needs_other} == {"mix", "planted"}
    with pytest.raises(ValueError, match="mix needs another track"):
        ALTERATIONS["mix"](noise(1.0), rng())


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(
        sorted(set(ALTERATIONS) - {n for n in ALTERATIONS if n[:5] in ("pitch", "tempo")})
    ),
    st.integers(4000, 20_000),
    st.booleans(),
)
def test_short_and_silent_waveforms_stay_finite(name, n_samples, silent):
    source = np.zeros(n_samples, np.float32) if silent else noise(2.0)[:n_samples]
    copy = ALTERATIONS[name](source, rng(), noise(1.0, seed=2))
    assert len(copy)
    assert np.isfinite(copy).all()
