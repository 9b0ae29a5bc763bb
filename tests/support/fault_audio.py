"""Audio files as they never should be: containers of every kind, mutated, and oversized ones."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from tunes import tune

WRITERS = {
    ".3g2": ("3g2", "aac"),
    ".3gp": ("3gp", "aac"),
    ".aac": ("adts", "aac"),
    ".ac3": ("ac3", "ac3"),
    ".aifc": ("aiff", "pcm_f32be"),
    ".aiff": ("aiff", "pcm_s16be"),
    ".amr": ("amr", "libopencore_amrnb"),
    ".au": ("au", "pcm_s16be"),
    ".avi": ("avi", "libmp3lame"),
    ".caf": ("caf", "pcm_s16be"),
    ".eac3": ("eac3", "eac3"),
    ".flac": ("flac", "flac"),
    ".flv": ("flv", "aac"),
    ".g722": ("g722", "g722"),
    ".m2ts": ("mpegts", "aac"),
    ".m4a": ("ipod", "aac"),
    ".m4b": ("ipod", "alac"),
    ".mka": ("matroska", "flac"),
    ".mkv": ("matroska", "aac"),
    ".mov": ("mov", "pcm_s16le"),
    ".mp2": ("mp2", "mp2"),
    ".mp3": ("mp3", "libmp3lame"),
    ".mp4": ("mp4", "aac"),
    ".mts": ("mpegts", "mp2"),
    ".oga": ("ogg", "flac"),
    ".ogg": ("ogg", "vorbis"),
    ".opus": ("ogg", "libopus"),
    ".tta": ("tta", "tta"),
    ".voc": ("voc", "pcm_u8"),
    ".w64": ("w64", "pcm_s16le"),
    ".wav": ("wav", "pcm_s16le"),
    ".webm": ("webm", "libopus"),
    ".wma": ("asf", "wmav2"),
    ".wmv": ("asf", "wmav1"),
    ".wv": ("wv", "wavpack"),
}
"""Of the suffixes that are read, those whose container and codec PyAV can write: muxer, encoder.

The others (.dff, .dsf, .dts, .gsm, .mlp, .mpc, .shn, .tak ...) have no encoder in its wheel."""

_RATES_HZ = {"libopencore_amrnb": 8_000, "g722": 16_000, "libopus": 48_000}
_MONO = ("libopencore_amrnb", "g722")


def encode_as(suffix: str, waveform: np.ndarray) -> bytes:
    """Encode a waveform of 16 kHz as the suffix says."""
    muxer, encoder = WRITERS[suffix]
    rate_hz = _RATES_HZ.get(encoder, 44_100)
    layout = "mono" if encoder in _MONO else "stereo"
    formats = av.codec.Codec(encoder, "w").audio_formats
    assert formats
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=muxer) as container:
        stream = container.add_stream(encoder, rate=rate_hz, options={"strict": "experimental"})
        context = stream.codec_context
        context.layout, context.format = layout, formats[0].name
        if encoder.startswith("wma"):
            context.bit_rate = 128_000
        context.open()
        converter = av.AudioResampler(
            formats[0].name, layout, rate_hz, frame_size=context.frame_size or 1024
        )
        frame = av.AudioFrame.from_ndarray(waveform[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        n_sent = 0
        for ready in converter.resample(frame) + converter.resample(None):
            ready.pts, n_sent = n_sent, n_sent + ready.samples
            container.mux(stream.encode(ready))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def whole_files() -> dict[str, bytes]:
    """Return one intact file of each container, by suffix."""
    waveform = tune(1, duration_s=3.0)
    return {suffix: encode_as(suffix, waveform) for suffix in WRITERS}


def _place(data: bytearray, chance: random.Random) -> int:
    """Return a position, half of the time one where headers lie."""
    return chance.randrange(min(len(data), 600) if chance.random() < 0.5 else len(data))


def _flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 1, 2, 5, 20, 200))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _cut_end(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _cut_out(data: bytearray, chance: random.Random) -> None:
    start = _place(data, chance)
    del data[start : start + chance.choice((1, 4, 64, 4096))]


def _swap(data: bytearray, chance: random.Random) -> None:
    n = chance.choice((1, 8, 512))
    a, b = sorted((_place(data, chance), _place(data, chance)))
    if a + n <= b and b + n <= len(data):
        data[a : a + n], data[b : b + n] = data[b : b + n], data[a : a + n]


def _repeat(data: bytearray, chance: random.Random) -> None:
    start = _place(data, chance)
    part = data[start : start + chance.choice((4, 64, 4096))]
    data[start:start] = part * chance.choice((1, 3, 50))


def _huge_number(data: bytearray, chance: random.Random) -> None:
    number = chance.choice((0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x00FFFFFF, 0x40000000, 0))
    order = chance.choice("<>")
    for _ in range(chance.choice((1, 1, 3))):
        at = _place(data, chance)
        data[at : at + 4] = struct.pack(f"{order}I", number)


def _insert_noise(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at:at] = chance.randbytes(chance.choice((1, 16, 1024)))


def _blank(data: bytearray, chance: random.Random) -> None:
    start, n = _place(data, chance), chance.choice((4, 64, 4096, 65536))
    data[start : start + n] = bytes(len(data[start : start + n]))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    *(_flip_bits, _flip_bits, _cut_end, _cut_out, _swap),
    *(_repeat, _huge_number, _huge_number, _insert_noise, _blank),
)


def mutate(data: bytes, chance: random.Random, others: tuple[bytes, ...] = ()) -> bytes:
    """Return a file with one to three mutations; now and then with the head of another one."""
    mutated = bytearray(data)
    if others and chance.random() < 0.05:
        mutated[:0] = chance.choice(others)[: chance.choice((12, 200, 5000))]
    for _ in range(chance.choice((1, 1, 2, 3))):
        if mutated:
            chance.choice(MUTATIONS)(mutated, chance)
    return bytes(mutated)


# Oversized files.  Each function writes one and returns the seconds of sound that are in it.

MIB = 1 << 20


def _id3(frames: bytes, version: int = 3) -> bytes:
    size = bytes(len(frames) >> shift & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes([version, 0, 0]) + size + frames


def _id3_frame(name: bytes, body: bytes, flags: bytes = b"\0\0") -> bytes:
    return name + struct.pack(">I", len(body)) + flags + body


def inflating_title(path: Path, mp3: bytes) -> float:
    """Write an mp3 of 1 MB whose title, compressed as ID3v2.3 allows, inflates to 1 GiB."""
    squeeze = zlib.compressobj(9)
    parts = [squeeze.compress(b"\x03")]
    parts += [squeeze.compress(b"A" * MIB) for _ in range(1024)]
    body = struct.pack(">I", (1024 * MIB + 1) & 0xFFFFFFFF) + b"".join([*parts, squeeze.flush()])
    path.write_bytes(_id3(_id3_frame(b"TIT2", body, b"\0\x80")) + mp3)
    return 3.0


def large_title(path: Path, mp3: bytes) -> float:
    """Write an mp3 with a title of 200 MB."""
    path.write_bytes(_id3(_id3_frame(b"TIT2", b"\x03" + b"A" * (200 * MIB))) + mp3)
    return 3.0


def large_cover(path: Path, mp3: bytes) -> float:
    """Write an mp3 with a cover of 200 MB."""
    body = b"\0image/png\0\x03\0" + os.urandom(MIB) * 200
    path.write_bytes(_id3(_id3_frame(b"APIC", body)) + mp3)
    return 3.0


def large_comment(path: Path, flac: bytes) -> float:
    """Write a FLAC whose metadata are 12 pictures and 12 comments of 16 MB each."""
    assert flac[:4] == b"fLaC"
    text = b"TITLE=" + b"A" * (15 * MIB)
    comment = struct.pack("<I", 0) + struct.pack("<II", 1, len(text)) + text
    picture = struct.pack(">II", 3, 9) + b"image/png" + bytes(20) + struct.pack(">I", 15 * MIB)
    picture += bytes(15 * MIB)
    with path.open("wb") as file:
        file.write(flac[:4] + bytes([0]) + flac[5:42])
        for kind, body in ((4, comment), (6, picture)):
            for _ in range(12):
                file.write(bytes([kind]) + len(body).to_bytes(3, "big") + body)
        file.write(flac[42:])
    return 3.0


def many_tracks(path: Path) -> float:
    """Write an mp4 of 1,000 audio tracks: one track's box, a thousand times."""
    whole = encode_as(".mp4", tune(1, duration_s=1.0))
    boxes = {kind: (start, end) for kind, start, end in _boxes(whole, 0, len(whole))}
    start, end = boxes[b"moov"]
    inner = list(_boxes(whole, start + 8, end))
    track = next(whole[a:b] for kind, a, b in inner if kind == b"trak")
    numbered = []
    for i in range(1000):
        box = bytearray(track)
        at = box.find(b"tkhd") + 16  # version 0: track id after flags and two times
        box[at : at + 4] = struct.pack(">I", i + 1)
        numbered.append(bytes(box))
    rest = b"".join(whole[a:b] for kind, a, b in inner if kind != b"trak")
    body = rest + b"".join(numbered)
    path.write_bytes(whole[:start] + struct.pack(">I", len(body) + 8) + b"moov" + body)
    return 1.0


def _boxes(data: bytes, start: int, end: int):
    while start + 8 <= end:
        length = int.from_bytes(data[start : start + 4], "big")
        yield data[start + 4 : start + 8], start, start + length
        start += max(8, length)


def long_mp3(path: Path, hours: float) -> float:
    """Write an mp3 of so many hours: the frames of half a minute, again and again."""
    rate_hz, minute = 16_000, io.BytesIO()
    with av.open(minute, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as c:
        stream = c.add_stream("libmp3lame", rate=rate_hz)
        stream.codec_context.layout, stream.codec_context.format = "mono", "fltp"
        stream.codec_context.bit_rate = 24_000
        frame = av.AudioFrame.from_ndarray(
            tune(1, duration_s=30.0)[None], format="fltp", layout="mono"
        )
        frame.sample_rate = rate_hz
        resampler = av.AudioResampler("fltp", "mono", rate_hz, frame_size=576)
        for ready in resampler.resample(frame) + resampler.resample(None):
            ready.pts = None
            c.mux(stream.encode(ready))
        c.mux(stream.encode(None))
    frames = minute.getvalue()
    with path.open("wb") as file:
        for _ in range(round(hours * 120)):
            file.write(frames)
    return hours * 3600.0


def long_silence(path: Path, hours: float) -> float:
    """Write a silent FLAC of so many hours."""
    rate_hz, n_block = 8_000, 65_535
    with av.open(str(path), "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate_hz)
        stream.codec_context.layout, stream.codec_context.format = "mono", "s16"
        stream.codec_context.open()
        n_block = stream.codec_context.frame_size or 4096
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, n_block), np.int16), format="s16", layout="mono"
        )
        frame.sample_rate = rate_hz
        for _ in range(round(hours * 3600 * rate_hz / n_block)):
            frame.pts = None
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return hours * 3600.0


def fast_wav(path: Path, seconds: float) -> float:
    """Write a wav of 192 kHz, 8 channels, 32-bit floats."""
    rate_hz, n_channels = 192_000, 8
    block = np.random.default_rng(1).normal(0, 0.1, (rate_hz, n_channels)).astype("<f4").tobytes()
    n = round(seconds) * len(block)
    form = struct.pack("<HHIIHH", 3, n_channels, rate_hz, rate_hz * n_channels * 4, 32, 32)
    with path.open("wb") as file:
        file.write(b"RIFF" + struct.pack("<I", n + 36) + b"WAVEfmt " + struct.pack("<I", 16) + form)
        file.write(b"data" + struct.pack("<I", n))
        for _ in range(round(seconds)):
            file.write(block)
    return float(round(seconds))


def junk(path: Path, n_bytes: int) -> float:
    """Write noise that is no audio at all."""
    chance = random.Random(1)
    with path.open("wb") as file:
        for _ in range(n_bytes // MIB):
            file.write(chance.randbytes(MIB))
    return 0.0
