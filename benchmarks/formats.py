"""Write tracks of the corpus in the formats that people have, for the benchmark of speed.

The i-th track becomes MP3, FLAC, AAC in M4A or Opus in turn, 44.1 kHz stereo (48 kHz for Opus), at
most four minutes of it, or stays the Ogg Vorbis file it is; what is there already is left.

Examples
--------
::

    python benchmarks/formats.py corpus/test runs/formats --n 200
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

import av

from auditor.audio.files import find_audio

KEPT = "ogg"
FORMATS = (
    (KEPT, "", 0, None),
    ("mp3", "libmp3lame", 44_100, 192_000),
    ("flac", "flac", 44_100, None),
    ("m4a", "aac", 44_100, 192_000),
    ("opus", "libopus", 48_000, 128_000),
)
LONGEST_S = 240.0


def transcode(source: bytes, target: Path, codec: str, rate_hz: int, bit_rate: int | None) -> None:
    """Write the first minutes of a file in another codec."""
    part = target.with_name(f"part-{target.name}")
    with (
        av.open(os.fsdecode(source), metadata_errors="replace") as read,
        av.open(str(part), "w") as written,
    ):
        stream = written.add_stream(codec, rate=rate_hz, layout="stereo")
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        resampler = av.AudioResampler(
            stream.codec_context.codec.audio_formats[0].name, "stereo", rate_hz
        )
        fifo, n_written = av.AudioFifo(), 0
        size = stream.codec_context.frame_size or 1024

        def write(frame: av.AudioFrame | None) -> None:
            for packet in stream.encode(frame):
                written.mux(packet)

        for frame in read.decode(audio=0):
            frame.pts = None
            for ready in resampler.resample(frame):
                fifo.write(ready)
            while fifo.samples >= size:
                block = fifo.read(size)
                block.pts, n_written = n_written, n_written + size
                write(block)
            if n_written >= LONGEST_S * rate_hz:
                break
        write(None)
    os.replace(part, target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n", type=int, default=200)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    files = [file.path for file in find_audio([args.folder]).files]
    for i in range(args.n):
        source = files[i % len(files)]  # the corpus has 199; the last one comes in two formats
        suffix, codec, rate_hz, bit_rate = FORMATS[i % len(FORMATS)]
        target = args.out / f"{i:03}.{suffix}"
        if target.exists():
            continue
        if suffix == KEPT:
            shutil.copyfile(source, target)
        else:
            transcode(source, target, codec, rate_hz, bit_rate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
