"""Files to embeddings: loud or quiet, short or long, alone or in company."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from auditor.audio.encode import write_audio
from auditor.embedding.config import PAPER, ExtractorConfig
from auditor.embedding.embed import (
    BATCH,
    STAGES,
    embed_file,
    embed_waveform,
    embed_windows,
    shortest_s,
)
from auditor.embedding.frames import LogBands
from auditor.embedding.network import Network
from auditor.embedding.pooling import pool_dvectors
from auditor.errors import AudioError


def embed(waveform: np.ndarray, extractor):
    return embed_waveform(waveform, [extractor])[extractor.weights_id]


def random_windows(n: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((n, 160, 72), np.float32)
    return np.float32(20.0) * noise - np.float32(40.0)


# Windows


def test_a_dvector_depends_on_its_window_alone(tiny_extractor):
    windows = random_windows(BATCH + 5)
    together = embed_windows(tiny_extractor, windows)
    assert together.shape == (BATCH + 5, 16)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    for i in (0, 7, BATCH - 1, BATCH, BATCH + 4):
        assert np.array_equal(embed_windows(tiny_extractor, windows[i : i + 1])[0], together[i])
    assert np.array_equal(embed_windows(tiny_extractor, windows[3:20]), together[3:20])


def test_no_windows_have_no_dvectors(tiny_extractor):
    assert embed_windows(tiny_extractor, np.zeros((0, 160, 72), np.float32)).shape == (0, 16)


def test_a_dvector_does_not_depend_on_the_length_of_its_track(tiny_extractor, make_tune):
    waveform = make_tune(2, duration_s=12.0)
    whole, part = embed(waveform, tiny_extractor), embed(waveform[: 16_000 * 6], tiny_extractor)
    n_common = len(part.dvectors) - 1  # the last window of the part is moved to its end
    assert n_common >= 5
    assert np.abs(whole.dvectors[:n_common] - part.dvectors[:n_common]).max() < 2e-3


# Files


def test_embed_file(write_tune, make_tune, tiny_extractor):
    path = write_tune("a.flac", 4, codec="flac", duration_s=10.0)
    found = embed_file(path, [tiny_extractor])
    assert list(found.embeddings) == [tiny_extractor.weights_id]
    assert found.duration_s == pytest.approx(10.0)
    assert not found.truncated
    assert not found.silent
    assert (found.info.codec, found.info.sample_rate_hz, found.info.n_channels) == (
        "flac",
        16_000,
        1,
    )
    embedding = found.embeddings[tiny_extractor.weights_id]
    n_frames = 1 + (160_000 - 512) // 160
    n_windows = 1 + -(-(n_frames - 160) // 80)
    assert embedding.dvectors.shape == (n_windows, 16)
    assert embedding.levels.shape == (n_windows,)
    assert (embedding.embedding.dtype, embedding.dvectors.dtype) == (np.float32, np.float16)
    assert np.linalg.norm(embedding.embedding) == pytest.approx(1.0, abs=1e-6)
    same = embed(make_tune(4, duration_s=10.0), tiny_extractor)
    assert float(same.embedding @ embedding.embedding) > 0.9999


def test_a_file_is_embedded_the_same_way_every_time(write_tune, tiny_extractor):
    path = write_tune("a.wav", 4, duration_s=5.0)
    one, two = (embed_file(path, [tiny_extractor]).embeddings for _ in range(2))
    for a, b in zip(one.values(), two.values(), strict=True):
        assert np.array_equal(a.embedding, b.embedding)
        assert np.array_equal(a.dvectors, b.dvectors)


def test_a_copy_12_db_quieter_has_the_same_embedding(write_tune, tiny_extractor):
    loud = write_tune("loud.wav", 6, duration_s=8.0)
    quiet = write_tune("quiet.wav", 6, duration_s=8.0, level=0.4 * 10.0 ** (-12.0 / 20.0))
    a, b = (embed_file(p, [tiny_extractor]).embeddings.popitem()[1] for p in (loud, quiet))
    assert float(a.embedding @ b.embedding) >= 0.999
    assert (a.levels - b.levels).astype(float) == pytest.approx(12.0, abs=0.1)


def test_two_tunes_are_not_one(make_tune, tiny_extractor):
    one, two = (embed(make_tune(i, duration_s=6.0), tiny_extractor).embedding for i in (0, 1))
    assert float(one @ two) < 0.9999


def test_silence_is_told_and_gives_zeros(write_tune, tiny_extractor):
    path = write_tune("silent.wav", 1, duration_s=4.0, level=0.0)
    found = embed_file(path, [tiny_extractor])
    assert found.silent
    embedding = found.embeddings[tiny_extractor.weights_id]
    assert not embedding.embedding.any()
    assert np.isfinite(embedding.dvectors).all()
    assert (embedding.levels == -120.0).all()


def test_silence_around_music_says_nothing_of_the_track(make_tune, tiny_extractor):
    waveform = make_tune(3, duration_s=6.4)
    padded = np.concatenate([waveform, np.zeros(16_000 * 8, dtype=np.float32)])
    plain, more = embed(waveform, tiny_extractor), embed(padded, tiny_extractor)
    assert (more.levels < -80.0).sum() >= 6
    assert float(plain.embedding @ more.embedding) > 0.99


@pytest.mark.parametrize(
    "config",
    [ExtractorConfig(), PAPER, ExtractorConfig(window_frames=20, hop_frames=20)],
)
def test_the_shortest_track_has_one_window(config, make_tune, tmp_path):
    small = dataclasses.replace(config, conv_channels=(), lstm_size=8, lstm_layers=1, n_dims=8)
    extractor = Network(small).extractor()
    needed_s = shortest_s(small)
    waveform = make_tune(1, duration_s=4.0)
    n_samples = round(needed_s * 16_000)
    assert len(embed(waveform[:n_samples], extractor).dvectors) == 1
    path = tmp_path / "short.wav"
    write_audio(path, waveform[: n_samples - 160], codec="wav")
    message = rf"short\.wav: {needed_s - 0.01:.2f} s of audio; at least {needed_s:.2f} s are needed"
    with pytest.raises(AudioError, match=message):
        embed_file(path, [extractor])
    with pytest.raises(AudioError, match=r"the waveform: 0\.00 s of audio"):
        embed_waveform(np.zeros(0, dtype=np.float32), [extractor])


def test_a_track_just_too_short_is_padded(make_tune, tiny_extractor):
    waveform = make_tune(1, duration_s=1.5)
    padded = embed(waveform, tiny_extractor)
    frames = LogBands(tiny_extractor.config.features)(waveform)
    missing = 160 - len(frames)
    assert 0 < missing <= 25
    window = np.concatenate([frames, frames[-missing:][::-1]])[None]
    expected = embed_windows(tiny_extractor, window)[0]
    assert padded.dvectors.shape == (1, 16)
    assert padded.embedding == pytest.approx(expected, abs=5e-4)  # float16


def test_extractors_of_one_feature_config_share_a_file(write_tune, tiny_extractor, tiny_config):
    network = Network(dataclasses.replace(tiny_config, window_frames=320, n_dims=24))
    network.weights_id = "01234567"
    longer = network.extractor()
    path = write_tune("a.wav", 2, duration_s=6.0)
    both = embed_file(path, [tiny_extractor, longer]).embeddings
    alone = embed_file(path, [tiny_extractor]).embeddings
    assert set(both) == {tiny_extractor.weights_id, "01234567"}
    assert both["01234567"].embedding.shape == (24,)
    assert len(both["01234567"].dvectors) < len(both[tiny_extractor.weights_id].dvectors)
    one, two = (e[tiny_extractor.weights_id] for e in (both, alone))
    assert np.array_equal(one.dvectors, two.dvectors)


def test_extractors_that_cannot_be_used_together(write_tune, tiny_extractor):
    path = write_tune("a.wav", 2, duration_s=2.0)
    with pytest.raises(ValueError, match="no extractor was given"):
        embed_file(path, [])
    small = dataclasses.replace(PAPER, lstm_size=8, lstm_layers=1, n_dims=8)
    with pytest.raises(ValueError, match="have different feature configs"):
        embed_file(path, [tiny_extractor, Network(small).extractor()])


def test_the_time_is_accounted_for(write_tune, tiny_extractor):
    import time

    path = write_tune("a.wav", 2, duration_s=12.0)
    started = time.perf_counter()
    seconds = embed_file(path, [tiny_extractor]).seconds
    wall_s = time.perf_counter() - started
    assert tuple(seconds) == STAGES
    assert all(value > 0.0 for value in seconds.values())
    assert sum(seconds.values()) <= wall_s


def test_a_bad_file_is_an_audio_error(tmp_path, tiny_extractor):
    (tmp_path / "text.mp3").write_text("hello")
    with pytest.raises(AudioError, match=r"text\.mp3: is not audio"):
        embed_file(tmp_path / "text.mp3", [tiny_extractor])


# Pooling


def test_the_embedding_is_the_normalised_mean_of_audible_dvectors():
    rng = np.random.default_rng(0)
    dvectors = rng.normal(size=(4, 8))
    dvectors /= np.linalg.norm(dvectors, axis=1, keepdims=True)
    dvectors = dvectors.astype(np.float16).astype(np.float32)  # as they are stored
    pooled = pool_dvectors(dvectors, np.asarray([-10.0, -90.0, -20.0, -61.0]))
    mean = (dvectors[0] + dvectors[2]) / 2.0
    assert pooled.embedding == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert pooled.dvectors.shape == (4, 8)
    assert pooled.levels.tolist() == [-10.0, -90.0, -20.0, -61.0]


def test_dvectors_that_cancel_give_zeros():
    opposite = np.asarray([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    assert not pool_dvectors(opposite, np.zeros(2)).embedding.any()
