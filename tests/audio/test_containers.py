"""Containers of strangers: many kinds, several streams, tags in front, links of a chain."""

from __future__ import annotations

import numpy as np
import pytest
from containers import RATE, id3_tag, mux, write_dsf

from auditor.audio.container import MAX_STREAMS
from auditor.audio.decode import AudioReader, encode
from auditor.audio.formats import DEMUXERS, NOT_READ, SUFFIXES
from auditor.errors import AudioError


def tone(duration_s: float, hz: float, *, rate: int = RATE, n_channels: int = 2) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * hz * np.arange(round(duration_s * rate)) / rate)
    return np.repeat(wave[None].astype(np.float32), n_channels, axis=0)


def read(path) -> tuple[np.ndarray, AudioReader]:
    with AudioReader(path) as reader:
        waveform = np.concatenate(list(reader.blocks()))
    return waveform, reader


def pitch_hz(waveform: np.ndarray, start_s: float, end_s: float) -> float:
    part = waveform[round(16_000 * start_s) : round(16_000 * end_s)]
    return float(np.abs(np.fft.rfft(part)).argmax() * 16_000 / len(part))


@pytest.mark.parametrize(
    ("container", "codec", "name"),
    [
        ("mpegts", "aac", "stream.mp4"),
        ("mpegts", "mp2", "stream.ts"),
        ("flv", "aac", "clip.mp4"),
        ("flv", "aac", "clip.flv"),
        ("avi", "libmp3lame", "film.mp4"),
        ("avi", "ac3", "film.avi"),
        ("matroska", "flac", "film.mkv"),
        ("mov", "alac", "take.mov"),
        ("mov", "pcm_s24le", "take"),
        ("eac3", "eac3", "dolby.eac3"),
        ("ac3", "ac3", "dolby.mp3"),
        ("asf", "wmav2", "old.wma"),
        ("caf", "pcm_s16be", "take.caf"),
    ],
)
def test_what_ffmpeg_reads_is_read_whatever_its_name(tmp_path, container, codec, name):
    path = mux(tmp_path / name, container, [(codec, tone(3.0, 440.0))])
    waveform, reader = read(path)
    assert reader.duration_s == pytest.approx(3.0, abs=0.15)
    assert pitch_hz(waveform, 0.5, 2.5) == pytest.approx(440.0, abs=1.0)
    assert not reader.truncated


def test_direct_stream_digital_is_read(tmp_path):
    path = write_dsf(tmp_path / "disc.dsf", tone(1.0, 1000.0, rate=2_822_400, n_channels=1)[0])
    waveform, reader = read(path)
    assert reader.info.codec.startswith("dsd")
    assert pitch_hz(waveform, 0.2, 0.8) == pytest.approx(1000.0, abs=5.0)


def test_formats_that_are_read_and_those_that_are_not_are_told_apart():
    assert not SUFFIXES & set(NOT_READ)
    assert all(reason and not reason.endswith(".") for reason in NOT_READ.values())
    assert "http" not in DEMUXERS and "concat" not in DEMUXERS and "hls" not in DEMUXERS


@pytest.mark.parametrize("codec", ["aac", "flac", "mp3", "wav"])
def test_music_behind_tags_of_mp3_is_read(tmp_path, codec):
    data = encode(tone(3.0, 440.0), codec=codec, sample_rate_hz=RATE)
    tag = id3_tag((b"TIT2", b"\0Some title", 0), (b"APIC", b"\0image/png\0\3\0" + bytes(90_000), 0))
    (tmp_path / "plain").write_bytes(data)
    (tmp_path / "tagged.mp3").write_bytes(tag + tag + data)
    plain, _ = read(tmp_path / "plain")
    tagged, reader = read(tmp_path / "tagged.mp3")
    np.testing.assert_array_equal(tagged, plain)
    assert not reader.truncated


def test_a_tag_that_claims_more_than_the_file_is_left_to_ffmpeg(tmp_path):
    data = b"ID3\3\0\0\x7f\x7f\x7f\x7f" + encode(tone(2.0, 440.0), codec="mp3")
    (tmp_path / "a.mp3").write_bytes(data)
    with pytest.raises(AudioError):
        read(tmp_path / "a.mp3")


@pytest.mark.parametrize(
    ("container", "codec"), [("matroska", "libopus"), ("mp4", "aac"), ("mpegts", "mp2")]
)
def test_every_audio_stream_is_heard(tmp_path, container, codec):
    streams = [(codec, 0.0 * tone(2.0, 1.0)), (codec, tone(3.0, 440.0)), (codec, tone(2.0, 880.0))]
    waveform, reader = read(mux(tmp_path / "three", container, streams))
    assert reader.info.parts_s == pytest.approx((2.0, 3.0, 2.0), abs=0.1)
    assert reader.duration_s == pytest.approx(7.0, abs=0.2)
    assert pitch_hz(waveform, 2.5, 4.5) == pytest.approx(440.0, abs=1.0)
    assert pitch_hz(waveform, 5.5, 6.5) == pytest.approx(880.0, abs=1.0)
    assert not reader.truncated


def test_a_stream_that_cannot_be_decoded_hides_no_other(tmp_path):
    path = mux(tmp_path / "two.mp4", "mp4", [("alac", tone(2.0, 880.0)), ("aac", tone(3.0, 440.0))])
    data = path.read_bytes()
    at = data.find(b"alac", data.find(b"stsd"))
    path.write_bytes(data[:at] + b"apac" + data[at + 4 :])
    waveform, reader = read(path)
    assert reader.duration_s == pytest.approx(3.0, abs=0.1)
    assert pitch_hz(waveform, 0.5, 2.5) == pytest.approx(440.0, abs=1.0)


def test_a_file_of_very_many_streams_is_refused_soon(tmp_path):
    path = mux(tmp_path / "one.mp4", "mp4", [("aac", tone(1.0, 440.0))])
    data = path.read_bytes()
    at = data.find(b"trak") - 4
    track = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    moov = data.find(b"moov") - 4
    length = int.from_bytes(data[moov : moov + 4], "big") + len(track) * MAX_STREAMS
    many = data[:moov] + length.to_bytes(4, "big") + data[moov + 4 : at] + track * MAX_STREAMS
    path.write_bytes(many + data[at:])
    with pytest.raises(AudioError, match="more than 64 streams") as caught:
        read(path)
    assert caught.value.code == "too-large"


@pytest.mark.parametrize(("first", "second"), [(44_100, 48_000), (48_000, 22_050)])
def test_both_links_of_a_chain_are_heard(tmp_path, first, second):
    chain = b"".join(
        encode(tone(2.0, hz, rate=rate), codec="ogg", sample_rate_hz=rate)
        for hz, rate in ((440.0, first), (880.0, second))
    )
    (tmp_path / "chained.ogg").write_bytes(chain)
    waveform, reader = read(tmp_path / "chained.ogg")
    assert reader.info.parts_s == pytest.approx((2.0, 2.0), abs=0.05)
    assert pitch_hz(waveform, 0.2, 1.8) == pytest.approx(440.0, abs=2.0)
    assert pitch_hz(waveform, 2.2, 3.8) == pytest.approx(880.0, abs=2.0)
    assert not reader.truncated
    (tmp_path / "cut.ogg").write_bytes(chain[:-2000])
    assert read(tmp_path / "cut.ogg")[1].truncated


def test_a_chain_of_one_kind_is_one_part(tmp_path):
    link = encode(tone(2.0, 440.0), codec="ogg", sample_rate_hz=RATE)
    (tmp_path / "chained.ogg").write_bytes(link * 3)
    _, reader = read(tmp_path / "chained.ogg")
    assert reader.info.parts_s == ()
    assert reader.duration_s == pytest.approx(6.0, abs=0.1)


def test_an_encrypted_file_is_named_so(tmp_path):
    path = mux(tmp_path / "a.mp4", "mp4", [("aac", tone(3.0, 440.0))])
    data = bytearray(path.read_bytes())
    at = data.find(b"mdat") + 4
    end = data.find(b"moov", at) - 4
    noise = np.random.default_rng(0).integers(0, 256, end - at - 64, dtype=np.uint8)
    data[at + 64 : end] = noise.tobytes()
    path.write_bytes(data)
    with pytest.raises(AudioError, match="damaged packets") as caught:
        read(path)
    assert caught.value.code == "no-audio"
    entry = data.find(b"mp4a", data.find(b"stsd"))
    data[entry : entry + 4] = b"enca"
    path.write_bytes(data)
    with pytest.raises(AudioError) as caught:
        read(path)
    assert caught.value.code in ("encrypted", "not-read")
