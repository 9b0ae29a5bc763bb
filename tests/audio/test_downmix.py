"""Channels to one: means that cancel, levels of every kind, and ordinary stereo to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from containers import mux
from tunes import tune

from auditor.audio.decode import AudioReader, encode
from auditor.audio.facts import MEAN, Mix
from auditor.audio.isolated import hear, load_waveform

N = 12 * 16_000
MUSIC, OTHER = tune(1), tune(2)


def listen(reader) -> np.ndarray:
    return np.concatenate(list(reader.blocks()))


def wav(tmp_path, channels: np.ndarray, codec: str = "pcm_f32le"):
    path = tmp_path / "a.wav"
    if len(channels) <= 2:
        return mux(path, "wav", [(codec, channels)], rate=16_000)
    raise ValueError("one or two channels")


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    n = min(len(a), len(b))
    return float(np.corrcoef(a[:n], b[:n])[0, 1])


@pytest.mark.parametrize(
    "channels",
    [
        np.stack([MUSIC, -MUSIC]),  # a cable that swaps polarity
        np.stack([MUSIC + 0.2 * OTHER, -MUSIC + 0.2 * OTHER]),  # one channel of wide stereo
    ],
)
@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_stereo_whose_mean_cancels_is_heard(tmp_path, channels, codec):
    path = wav(tmp_path, channels, codec)
    with AudioReader(path) as reader:
        listen(reader)
        assert reader.better_mix == Mix("side")
    assert correlation(hear(path, listen), MUSIC) > 0.99


def test_a_part_that_cancels_is_heard(tmp_path):
    inverted = MUSIC.copy()
    inverted[N // 4 : 3 * N // 4] *= -1.0
    path = wav(tmp_path, np.stack([MUSIC, inverted]))
    with AudioReader(path) as reader:
        listen(reader)
        assert reader.better_mix == Mix("side where the mean cancels")
    heard = hear(path, listen)
    for start in range(0, N - 16_000, 16_000):
        if start // 16_000 in (2, 3, 8, 9):  # where it changes: the mix is chosen second by second
            continue
        assert correlation(heard[start : start + 16_000], MUSIC[start : start + 16_000]) > 0.95


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("level", [1.0, 0.1, 0.03])
def test_ordinary_music_is_the_mean_to_the_bit(tmp_path, n_channels, level):
    """What catalogues and calibrations rest on."""
    channels = level * np.stack([MUSIC + 0.5 * OTHER, MUSIC - 0.5 * OTHER])[:n_channels]
    path = wav(tmp_path, channels.astype(np.float32))
    with AudioReader(path) as reader:
        heard = listen(reader)
        assert reader.better_mix is None
    total = channels[0].astype(np.float32)
    for channel in channels[1:].astype(np.float32):
        total = total + channel
    np.testing.assert_array_equal(heard, total / np.float32(n_channels))


@pytest.mark.parametrize("factor", [32_767.0, 2_147_483_647.0, 1.0 / 32_767.0, 1e-3])
def test_the_scale_of_floats_does_not_matter(tmp_path, factor):
    path = wav(tmp_path, (factor * MUSIC)[None])
    heard = hear(path, listen)
    assert correlation(heard, MUSIC) > 0.9999
    assert 0.2 < np.abs(heard).max() <= 1.0
    assert 0.2 < np.abs(load_waveform(path)).max() <= 1.0


def test_soft_music_of_16_bits_is_raised_and_their_noise_is_not(tmp_path):
    soft = wav(tmp_path, (10.0 ** (-60.0 / 20.0) / 0.4 * MUSIC)[None], "pcm_s16le")
    assert np.abs(hear(soft, listen)).max() > 0.2
    dither = np.random.default_rng(0).integers(-1, 2, N) / 32_768.0
    noise = wav(tmp_path, dither[None].astype(np.float32), "pcm_s16le")
    assert np.abs(hear(noise, listen)).max() < 1e-3


def test_a_constant_says_nothing_of_the_level_nor_of_cancelling(tmp_path):
    channels = np.stack([0.5 * MUSIC + 0.4, 0.5 * MUSIC - 0.4]).astype(np.float32)
    with AudioReader(wav(tmp_path, channels)) as reader:
        listen(reader)
        assert reader.better_mix is None
    soft = (1e-4 * MUSIC + 0.5)[None].astype(np.float32)
    with AudioReader(wav(tmp_path, soft)) as reader:
        listen(reader)
        assert reader.better_mix is not None and reader.better_mix.gain_log2 > 0


def test_samples_that_are_no_numbers_are_silence(tmp_path):
    broken = MUSIC.copy()
    broken[100:200] = np.nan
    broken[300] = np.inf
    path = wav(tmp_path, broken[None])
    with AudioReader(path) as reader:
        heard = listen(reader)
        assert reader.better_mix is None
    assert np.isfinite(heard).all()
    assert not heard[100:200].any()


def test_six_channels_that_cancel_are_heard_by_the_loudest(tmp_path):
    import av

    path = tmp_path / "six.wav"
    channels = np.stack([MUSIC, -MUSIC, 0.5 * MUSIC, -0.5 * MUSIC, 0.1 * MUSIC, -0.1 * MUSIC])
    with av.open(str(path), "w", format="wav") as container:
        stream = container.add_stream("pcm_f32le", rate=16_000)
        stream.codec_context.layout = "5.1"
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(channels.T.reshape(1, -1)), format="flt", layout="5.1"
        )
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with AudioReader(path) as reader:
        assert reader.info.n_channels == 6
        listen(reader)
        assert reader.better_mix == Mix("loudest where the mean cancels")
    assert correlation(hear(path, listen), MUSIC) > 0.99


def test_what_was_heard_of_the_beginning_alone_says_nothing_of_the_level(tmp_path):
    soft_start = np.concatenate([1e-3 * MUSIC, MUSIC]).astype(np.float32)
    path = wav(tmp_path, soft_start[None])
    start = load_waveform(path, duration_s=5.0)
    assert np.abs(start).max() == pytest.approx(1e-3 * np.abs(MUSIC[: 5 * 16_000]).max(), rel=0.01)
    inverted = np.stack([MUSIC, -MUSIC])
    heard = load_waveform(wav(tmp_path, inverted), duration_s=5.0)
    assert correlation(heard, MUSIC[: len(heard)]) > 0.99


def test_lossy_stereo_is_mixed_as_before(tmp_path):
    data = encode(np.stack([MUSIC + 0.5 * OTHER, MUSIC - 0.5 * OTHER]), codec="mp3")
    (tmp_path / "a.mp3").write_bytes(data)
    with AudioReader(tmp_path / "a.mp3", mix=MEAN) as reader:
        listen(reader)
        assert reader.better_mix is None
