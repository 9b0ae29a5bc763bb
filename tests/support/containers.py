"""Audio files that ``auditor.audio.encode`` does not write: other containers, several streams."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = 48_000


def mux(
    path: Path,
    container: str,
    streams: Sequence[tuple[str, np.ndarray]],
    *,
    rate: int = RATE,
) -> Path:
    """Write streams, each of a codec and a (n_channels, n) float32 waveform, into a container."""
    with av.open(str(path), "w", format=container) as output:
        made = []
        for codec, waveform in streams:
            stream = output.add_stream(codec, rate=rate, options={"strict": "experimental"})
            layout = "mono" if len(waveform) == 1 else "stereo"
            stream.codec_context.layout = layout
            if codec.startswith("wma"):
                stream.codec_context.bit_rate = 128_000
            stream.codec_context.open()
            made.append((stream, waveform, layout))
        for stream, waveform, layout in made:
            context = stream.codec_context
            size = context.frame_size or 1024
            converter = av.AudioResampler(context.format.name, layout, rate, frame_size=size)
            frame = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(waveform, np.float32), format="fltp", layout=layout
            )
            frame.sample_rate = rate
            n_sent = 0
            for ready in [*converter.resample(frame), *converter.resample(None)]:
                ready.pts, ready.time_base = n_sent, Fraction(1, rate)
                n_sent += ready.samples
                output.mux(stream.encode(ready))
            output.mux(stream.encode(None))
    return path


def write_dsf(path: Path, waveform: np.ndarray) -> Path:
    """Write a DSD file (DSF, 1 bit at 2.8224 MHz) of a mono waveform at that rate, in [-1, 1]."""
    sums = np.floor(np.cumsum(0.5 * (waveform.astype(np.float64) + 1.0)))
    bits = np.diff(sums, prepend=0.0).astype(np.uint8)
    bits = np.pad(bits, (0, -len(bits) % (8 * 4096)))
    data = np.packbits(bits, bitorder="little").tobytes()
    layout = struct.pack("<IIIIIIQII", 1, 0, 1, 1, 2_822_400, 1, len(waveform), 4096, 0)
    body = b"fmt " + struct.pack("<Q", 12 + len(layout)) + layout
    body += b"data" + struct.pack("<Q", 12 + len(data)) + data
    path.write_bytes(b"DSD " + struct.pack("<QQQ", 28, 28 + len(body), 0) + body)
    return path


def id3_tag(*frames: tuple[bytes, bytes, int]) -> bytes:
    """Return an ID3v2.3 tag of frames: name, content, and the low byte of their flags."""
    body = b"".join(
        name + struct.pack(">I", len(content)) + bytes([0, flags]) + content
        for name, content, flags in frames
    )
    size = len(body)
    return b"ID3\3\0\0" + bytes((size >> shift) & 127 for shift in (21, 14, 7, 0)) + body
