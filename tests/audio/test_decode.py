"""Decoding: levels, lengths, damage, headers that lie, names that bite."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tracemalloc

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.audio.decode import AudioReader, decode, encode, write_audio
from auditor.audio.formats import SUFFIXES
from auditor.audio.isolated import load_waveform
from auditor.errors import AudioError

RATE = 16_000
EXTENSIONS = {
    "wav": "wav",
    "flac": "flac",
    "mp3": "mp3",
    "ogg": "ogg",
    "opus": "opus",
    "aac": "m4a",
}


def tone(duration_s: float, *, hz: float = 440.0, rate: int = RATE) -> np.ndarray:
    time_s = np.arange(round(duration_s * rate)) / rate
    return (0.3 * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def noise(duration_s: float, *, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.normal(0.0, 0.1, round(duration_s * rate)).astype(np.float32)


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def wav_bytes(
    data: bytes, *, n_channels: int = 1, rate: int = RATE, bits: int = 16, tag: int = 1, size=None
) -> bytes:
    """A WAV file by hand, so that its header can say anything."""
    align = n_channels * bits // 8
    chunk = struct.pack("<IHHIIHH", 16, tag, n_channels, rate, rate * align, align, bits)
    body = b"WAVEfmt " + chunk + b"data" + struct.pack("<I", len(data) if size is None else size)
    return b"RIFF" + struct.pack("<I", len(body) + len(data)) + body + data


def read(path) -> tuple[np.ndarray, AudioReader]:
    with AudioReader(path) as reader:
        waveform = np.concatenate(list(reader.blocks()))
    return waveform, reader


@pytest.mark.parametrize("codec", EXTENSIONS)
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_every_codec_round_trips(tmp_path, codec, rate):
    path = tmp_path / f"track.{EXTENSIONS[codec]}"
    write_audio(path, tone(3.0, rate=rate), codec=codec, sample_rate_hz=rate)
    waveform, reader = read(path)
    assert waveform.dtype == np.float32
    assert waveform.ndim == 1
    assert reader.duration_s == pytest.approx(3.0, abs=0.06)
    assert reader.info.declared_s == pytest.approx(3.0, abs=0.06)
    assert reader.info.sample_rate_hz in (rate, 48_000)
    assert not reader.truncated
    assert reader.n_bad_packets == 0
    assert rms(waveform) == pytest.approx(0.3 / np.sqrt(2), rel=0.06)  # LAME: 5 % quieter
    spectrum = np.abs(np.fft.rfft(waveform[RATE : 2 * RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@pytest.mark.parametrize(
    ("codec", "name"),
    [("wav", "pcm_s16le"), ("mp3", "mp3"), ("aac", "aac"), ("ogg", "vorbis"), ("opus", "opus")],
)
def test_the_codec_is_named_not_its_decoder(tmp_path, codec, name):
    path = tmp_path / f"track.{EXTENSIONS[codec]}"
    write_audio(path, tone(0.5), codec=codec)
    with AudioReader(path) as reader:
        assert reader.info.codec == name


@pytest.mark.parametrize("codec", ["wav", "flac", "mp3", "ogg", "aac"])
def test_stereo_has_the_level_of_mono(codec):
    mono = noise(3.0, rate=44_100)
    one = decode(encode(mono, codec=codec, sample_rate_hz=44_100, bit_rate=128_000))
    two = decode(
        encode(np.stack([mono, mono]), codec=codec, sample_rate_hz=44_100, bit_rate=256_000)
    )
    assert 20 * np.log10(rms(two) / rms(one)) == pytest.approx(0.0, abs=0.5)


def test_channels_are_averaged(tmp_path):
    left, right = tone(1.0), tone(1.0, hz=1000.0)
    waveform = decode(encode(np.stack([left, right]), codec="flac"))
    np.testing.assert_allclose(waveform, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize("n_channels", [3, 5, 6, 7, 9, 16])
def test_many_channels_are_averaged(tmp_path, n_channels):
    channels = np.zeros((RATE, n_channels), dtype="<i2")
    channels[:, -1] = (tone(1.0) * 32768).astype("<i2")
    path = tmp_path / "many.wav"
    path.write_bytes(wav_bytes(channels.tobytes(), n_channels=n_channels))
    waveform, reader = read(path)
    assert reader.info.n_channels == n_channels
    np.testing.assert_allclose(waveform, tone(1.0) / n_channels, atol=1e-4)


@pytest.mark.parametrize(("bits", "tag"), [(8, 1), (16, 1), (24, 1), (32, 1), (32, 3), (64, 3)])
def test_every_sample_format_has_the_same_scale(bits, tag):
    samples = tone(1.0)
    if tag == 3:
        data = samples.astype(f"<f{bits // 8}").tobytes()
    elif bits == 8:
        data = np.round(samples * 128 + 128).astype("u1").tobytes()
    else:
        wide = np.round(samples * 2.0**31).astype("<i4").view("u1").reshape(-1, 4)
        data = wide[:, 4 - bits // 8 :].tobytes()
    waveform = decode(wav_bytes(data, bits=bits, tag=tag))
    np.testing.assert_allclose(waveform, samples, atol=0.005 if bits == 8 else 1e-4)


def test_resampling_keeps_time_and_level():
    source = tone(5.0, hz=1000.0, rate=44_100)
    waveform = decode(wav_bytes((source * 32767).astype("<i2").tobytes(), rate=44_100))
    assert len(waveform) == pytest.approx(5 * RATE, abs=2)
    middle = slice(RATE, 4 * RATE)
    np.testing.assert_allclose(waveform[middle], tone(5.0, hz=1000.0)[middle], atol=2e-3)


def test_raw_telephone_formats_are_told_by_their_names(tmp_path):
    import av

    path = tmp_path / "hold.g722"
    with av.open(str(path), "w", format="g722") as container:
        stream = container.add_stream("g722", rate=RATE)
        stream.codec_context.layout = "mono"
        samples = (tone(2.0) * 32767).astype("<i2")[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = RATE
        container.mux([*stream.encode(frame), *stream.encode(None)])
    waveform, reader = read(path)
    assert reader.duration_s == pytest.approx(2.0, abs=0.05)
    assert reader.info.declared_s is None
    assert rms(waveform) == pytest.approx(0.21, abs=0.02)


def test_blocks_have_the_stated_length(tmp_path):
    path = tmp_path / "a.flac"
    write_audio(path, noise(7.3), codec="flac")
    with AudioReader(path, block_s=2.0) as reader:
        lengths = [len(block) for block in reader.blocks()]
    assert lengths == [32_000, 32_000, 32_000, 20_800]
    with AudioReader(path, block_s=0.3) as reader:
        joined = np.concatenate(list(reader.blocks()))
    np.testing.assert_array_equal(joined, load_waveform(path))


def test_memory_does_not_grow_with_length(tmp_path):
    path = tmp_path / "long.wav"
    n_bytes = 2 * RATE * 1800
    header = wav_bytes(b"", size=n_bytes)
    with path.open("wb") as file:
        file.write(header)
        file.truncate(len(header) + n_bytes)  # half an hour of silence, sparse
    tracemalloc.start()
    with AudioReader(path) as reader:
        longest = max(len(block) for block in reader.blocks())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reader.duration_s == pytest.approx(1800.0)
    assert longest == 10 * RATE
    assert peak < 8e6  # the whole would be 115 MB


def test_blocks_run_once(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, noise(0.2), codec="wav")
    with AudioReader(path) as reader:
        list(reader.blocks())
        with pytest.raises(ValueError, match=r"blocks\(\) was called twice"):
            list(reader.blocks())
    with pytest.raises(ValueError, match="block_s is 0"):
        AudioReader(path, block_s=0)


# Damage


@pytest.mark.parametrize("codec", ["wav", "flac", "mp3", "ogg", "opus"])
def test_a_cut_file_is_used_and_marked(tmp_path, codec):
    data = encode(noise(10.0), codec=codec)
    path = tmp_path / f"cut.{EXTENSIONS[codec]}"
    path.write_bytes(data[: int(0.6 * len(data))])
    _, reader = read(path)
    assert reader.truncated
    assert 3.0 < reader.duration_s < 8.0


def test_a_cut_aiff_is_marked(tmp_path):
    samples = (noise(4.0) * 32767).astype(">i2").tobytes()
    rate_80_bit = b"\x40\x0c\xfa\x00" + bytes(6)
    common = b"COMM" + struct.pack(">IhIh", 18, 1, 4 * RATE, 16) + rate_80_bit
    sound = b"SSND" + struct.pack(">III", len(samples) + 8, 0, 0) + samples
    path = tmp_path / "a.aiff"
    path.write_bytes(
        b"FORM" + struct.pack(">I", 4 + len(common + sound)) + b"AIFF" + common + sound
    )
    _, reader = read(path)
    assert (reader.duration_s, reader.truncated) == (4.0, False)
    path.write_bytes(path.read_bytes()[:-60_000])
    _, reader = read(path)
    assert reader.duration_s < 2.5
    assert reader.truncated


@pytest.mark.parametrize("codec", ["mp3", "aac", "ogg", "opus"])
def test_a_hole_is_skipped_and_marked(tmp_path, codec):
    data = bytearray(encode(noise(20.0), codec=codec, bit_rate=64_000))
    hole = slice(len(data) // 2, len(data) // 2 + len(data) // 10)
    data[hole] = np.random.default_rng(0).bytes(len(data[hole]))
    path = tmp_path / f"hole.{EXTENSIONS[codec]}"
    path.write_bytes(data)
    _, reader = read(path)
    assert 10.0 < reader.duration_s < 19.9
    assert reader.truncated


def test_junk_behind_an_mp3_is_not_damage(tmp_path):
    data = encode(noise(5.0), codec="mp3")
    start = next(data.find(tag) for tag in (b"Xing", b"Info") if tag in data)
    first_frame = data.rfind(b"\xff\xf3", 0, start)
    without_length = data[data.find(data[first_frame : first_frame + 2], start) :]
    for intact, declares in ((data, True), (without_length, False)):
        for junk in (b"", bytes(5000), b"TAG" + bytes(125), b"some lyrics " * 300):
            path = tmp_path / "a.mp3"
            path.write_bytes(intact + junk)
            _, reader = read(path)
            assert not reader.truncated
            assert (reader.info.declared_s is not None) == declares
            assert reader.duration_s == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("size", [0x5FFF_FFF0, 0x1000_0000])
def test_a_header_that_claims_hours_is_not_believed(tmp_path, size):
    path = tmp_path / "huge.wav"
    path.write_bytes(wav_bytes((noise(2.0) * 32767).astype("<i2").tobytes(), size=size))
    _, reader = read(path)
    assert reader.duration_s == pytest.approx(2.0)
    assert reader.info.declared_s > 3600
    assert reader.truncated


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF])
def test_a_streamed_wav_without_length_is_not_truncated(tmp_path, size):
    path = tmp_path / "pipe.wav"
    path.write_bytes(wav_bytes((noise(2.0) * 32767).astype("<i2").tobytes(), size=size))
    _, reader = read(path)
    assert reader.duration_s == pytest.approx(2.0)
    assert not reader.truncated


def test_samples_that_are_no_numbers_become_silence_or_are_bounded():
    samples = np.zeros(RATE, dtype="<f4")
    samples[100:103] = np.nan, np.inf, -np.inf
    samples[5000:5010] = 1e30
    waveform = decode(wav_bytes(samples.tobytes(), bits=32, tag=3))
    assert np.isfinite(waveform).all()
    assert waveform[100:103].tolist() == [0.0, 0.0, 0.0]
    assert waveform.max() == 8.0


def test_a_change_of_format_goes_on(tmp_path):
    path = tmp_path / "joined.mp3"
    path.write_bytes(
        encode(tone(3.0), codec="mp3")
        + encode(tone(3.0, rate=24_000), codec="mp3", sample_rate_hz=24_000)
    )
    waveform, reader = read(path)
    assert reader.duration_s == pytest.approx(6.0, abs=0.2)
    spectrum = np.abs(np.fft.rfft(waveform[-2 * RATE : -RATE]))
    assert abs(int(spectrum.argmax()) - 440) <= 1


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from(sorted(EXTENSIONS)), st.data())
def test_no_damage_ends_in_another_error(tmp_path, codec, data):
    content = bytearray(encode(noise(0.5), codec=codec))
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / f"fuzz.{EXTENSIONS[codec]}"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        waveform, _ = read(path)
    except AudioError:
        return
    assert len(waveform)
    assert np.isfinite(waveform).all()


# Files that are refused


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.mp3", b"", r"empty\.mp3: is empty \(0 bytes\)"),
        ("text.mp3", b"hello, world\n" * 500, r"text\.mp3: is not audio that FFmpeg can read"),
        ("bare.wav", wav_bytes(b""), r"bare\.wav: holds no audio that can be decoded"),
        ("slow.wav", wav_bytes(bytes(99), rate=1), r"slow\.wav: its sample rate is 1 Hz"),
    ],
)
def test_unreadable_files_say_why(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message):
        load_waveform(path)


def test_missing_folder_and_pipe_say_so(tmp_path):
    with pytest.raises(AudioError, match="no such file"):
        load_waveform(tmp_path / "gone.mp3")
    with pytest.raises(AudioError, match="is a folder"):
        load_waveform(tmp_path)
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(AudioError, match="not a regular file"):
        load_waveform(tmp_path / "pipe.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file_says_so(tmp_path):
    path = tmp_path / "secret.wav"
    write_audio(path, noise(0.1), codec="wav")
    path.chmod(0)
    with pytest.raises(AudioError, match=r"secret\.wav: permission denied"):
        load_waveform(path)


def test_a_picture_alone_is_no_audio(tmp_path):
    import av

    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), "u1"), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with pytest.raises(AudioError, match=r"film\.mp4: has no audio stream"):
        load_waveform(path)


@pytest.mark.parametrize("suffix", [".m3u8", ".mp3", ".wav"])
@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
    ],
)
def test_play_lists_open_nothing(tmp_path, suffix, content):
    write_audio(tmp_path / "private.wav", noise(1.0), codec="wav")
    path = tmp_path / f"list{suffix}"
    path.write_text(content.format("private.wav"))
    with pytest.raises(AudioError, match="is not audio that FFmpeg can read"):
        load_waveform(path)


@pytest.mark.parametrize(
    "name",
    [
        b"a\nb.wav",
        b"\xff\xfe\x80.wav",
        b"<script>'\".wav",
        b"-i.wav",
        b"concat:a.wav|b.wav",
        b"http:x.wav",
        b"%d.wav",
    ],
)
def test_any_name_can_be_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with open(name, "wb") as file:
        file.write(encode(noise(0.2), codec="wav"))
    assert len(load_waveform(name)) == 3200
    assert len(load_waveform(os.fsdecode(name))) == 3200


def test_names_are_escaped_in_messages(tmp_path):
    path = os.fsencode(tmp_path) + b"/a\nb\xff.mp3"
    with open(path, "wb"):
        pass
    with pytest.raises(AudioError, match=r"a\\nb\\xff\.mp3: is empty"):
        load_waveform(path)


# Excerpts and writing


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.floats(0.0, 2.9), st.floats(0.01, 5.0))
def test_an_excerpt_is_a_slice_of_the_whole(tmp_path, start_s, duration_s):
    path = tmp_path / "a.flac"
    if not path.exists():
        write_audio(path, noise(3.0), codec="flac")
    whole = load_waveform(path)
    excerpt = load_waveform(path, start_s=start_s, duration_s=duration_s)
    start = round(start_s * RATE)
    np.testing.assert_array_equal(excerpt, whole[start : start + round(duration_s * RATE)])


def test_excerpts_that_cannot_be_say_so(tmp_path):
    path = tmp_path / "a.wav"
    write_audio(path, noise(2.0), codec="wav")
    with pytest.raises(AudioError, match=r"holds 2\.0 s of audio; an excerpt from 5 s"):
        load_waveform(path, start_s=5.0)
    with pytest.raises(AudioError, match="is longer than 1 s"):
        load_waveform(path, max_s=1.0)
    with pytest.raises(ValueError, match=r"start_s is -1\.0"):
        load_waveform(path, start_s=-1.0)


def test_writing_leaves_no_half_file(tmp_path):
    with pytest.raises(ValueError, match="codec is 'midi'"):
        write_audio(tmp_path / "a.mid", noise(0.1), codec="midi")
    with pytest.raises(ValueError, match="Opus has"):
        write_audio(tmp_path / "a.opus", noise(0.1), codec="opus", sample_rate_hz=44_100)
    with pytest.raises(ValueError, match="waveform has shape"):
        encode(np.zeros(0), codec="wav")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(AudioError, match="cannot be written: No such file"):
        write_audio(tmp_path / "nowhere" / "a.wav", noise(0.1), codec="wav")


def test_encoding_clips():
    loud = np.full(1600, 3.0, dtype=np.float32)
    loud[0] = np.nan
    waveform = decode(encode(loud, codec="flac"))
    assert waveform.max() == pytest.approx(1.0, abs=1e-3)
    assert waveform[0] == 0.0


@pytest.mark.parametrize("codec", ["wav", "flac", "mp3", "ogg", "opus", "aac"])
def test_encoding_twice_gives_the_same_bytes(codec):
    assert encode(noise(1.0), codec=codec) == encode(noise(1.0), codec=codec)


def test_suffixes_are_lower_case_and_hold_what_people_have():
    wanted = {".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".wav", ".aiff", ".aif"}
    assert wanted <= SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


def test_decoding_does_without_torch():
    code = "import sys, auditor.audio.decode; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_more_than_eight_planar_channels_are_averaged(tmp_path):
    """In a process of its own: it used to end by a segmentation fault."""
    tone = 0.3 * np.sin(2.0 * np.pi * 440.0 * np.arange(48_000) / 48_000)
    path = tmp_path / "sixteen.opus"
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream(
            "libopus", rate=48_000, options={"mapping_family": "255", "b": "512000"}
        )
        stream.codec_context.layout = "hexadecagonal"
        stream.codec_context.format = "flt"
        stream.codec_context.open()
        n = stream.codec_context.frame_size
        for start in range(0, len(tone) - n, n):
            part = np.repeat(tone[start : start + n, None], 16, axis=1).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(
                part.reshape(1, -1), format="flt", layout="hexadecagonal"
            )
            frame.sample_rate, frame.pts = 48_000, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    code = (
        "from auditor.audio.isolated import load_waveform\n"
        f"waveform = load_waveform({str(path)!r})\n"
        "print(len(waveform), round(float(abs(waveform).max()), 2))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, (run.returncode, run.stderr)
    n_samples, peak = run.stdout.split()
    assert int(n_samples) == pytest.approx(16_000, abs=1_000)
    assert float(peak) == pytest.approx(0.3, abs=0.05)
