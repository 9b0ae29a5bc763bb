"""Submissions heard at other pitches and tempos: moved back to what the original is."""

from __future__ import annotations

import numpy as np
import pytest

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.encode import write_audio
from auditor.augment.waveform import change_speed
from auditor.embedding.config import WIDE_RETUNINGS, FeatureConfig, Retuning, wide_retunings
from auditor.embedding.embed import embed_waveform
from auditor.embedding.hearing import Hearing, HearingStream, hear_file
from auditor.embedding.spectrogram import waveform_spectrum


def heard_as(
    waveform: np.ndarray, extractor, retuning: Retuning, n_blocks: int = 5
) -> Hearing | None:
    stream = HearingStream(extractor, retuning)
    for block in np.array_split(waveform, n_blocks):
        stream.feed(block)
    return stream.finish()


def test_music_heard_as_it_is_has_its_own_embedding(tiny_extractor, make_tune):
    waveform = make_tune(3, duration_s=8.0)
    heard = heard_as(waveform, tiny_extractor, Retuning())
    made = embed_waveform(waveform, [tiny_extractor])[tiny_extractor.weights_id]
    assert np.array_equal(heard.made.dvectors, made.dvectors)
    assert np.array_equal(heard.spectrum, waveform_spectrum(waveform))
    assert heard.duration_s == 8.0
    later = heard_as(waveform, tiny_extractor, Retuning(skip_s=0.4))
    skipped = waveform[round(0.4 * SAMPLE_RATE_HZ) :]
    made = embed_waveform(skipped, [tiny_extractor])[tiny_extractor.weights_id]
    assert np.array_equal(later.made.dvectors, made.dvectors)
    assert later.duration_s == pytest.approx(7.6)


@pytest.mark.parametrize("ratio", [1.6, 0.625])
def test_a_copy_at_another_speed_is_moved_back(tiny_extractor, make_tune, ratio):
    waveform = make_tune(4, duration_s=8.0)
    copy = change_speed(waveform, ratio)
    hearing = heard_as(copy, tiny_extractor, Retuning(12.0 * np.log2(ratio), ratio))
    original = waveform_spectrum(waveform)
    n = min(len(original), len(hearing.spectrum))
    assert abs(len(original) - len(hearing.spectrum)) <= 1
    assert hearing.duration_s == pytest.approx(8.0, abs=0.01)
    loud = original[:n] > original.max() - 40
    differences = np.abs(hearing.spectrum[:n].astype(int) - original[:n])[loud]
    assert np.quantile(differences, 0.9) <= 3
    made = embed_waveform(waveform, [tiny_extractor])[tiny_extractor.weights_id]
    of_copy = embed_waveform(copy, [tiny_extractor])[tiny_extractor.weights_id]
    moved_back = float(made.embedding @ hearing.made.embedding)
    assert moved_back > float(made.embedding @ of_copy.embedding)


def test_bands_above_half_of_the_sample_rate_are_left_out():
    retuned = FeatureConfig().retuned(WIDE_RETUNINGS[0])
    assert retuned.n_bands < FeatureConfig().n_bands
    assert retuned.f_top_hz < SAMPLE_RATE_HZ / 2
    assert FeatureConfig().retuned(Retuning(skip_s=0.4)) == FeatureConfig()


def test_a_file_is_heard_in_all_ways_that_it_is_long_enough_for(
    tiny_extractor, make_tune, tmp_path
):
    waveform = make_tune(5, duration_s=2.0)
    write_audio(tmp_path / "a.wav", waveform, codec="wav")
    found = hear_file(tmp_path / "a.wav", tiny_extractor, wide_retunings(2.0))
    tempos = [heard.retuning.tempo for heard in found]
    assert 1.6 in tempos
    assert 0.625 not in tempos  # 1.25 s are less than a window
    assert [len(heard.spectrum) > 0 for heard in found] == [True] * len(found)
