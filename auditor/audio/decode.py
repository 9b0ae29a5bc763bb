"""Files to waveforms: streamed decoding to 16 kHz mono float32.

Decoding is done by PyAV, whose wheel carries FFmpeg, so nothing else has to be installed.  A file
is read packet by packet: memory does not grow with its length, a damaged packet is counted and
skipped, and nothing that a header claims is ever allocated.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

import av
import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.audio.container import (
    FilePart,
    ends_inside_ogg_page,
    is_encrypted,
    mp3_declared_s,
    music_parts,
    open_audio_file,
    open_container,
    wav_promise,
)
from auditor.audio.downmix import Mixer, resample
from auditor.audio.encode import encode, write_audio
from auditor.audio.facts import MEAN, AudioInfo, Mix, check_blocks
from auditor.audio.formats import HEADERLESS_CONTAINERS
from auditor.errors import AudioError, show_path

__all__ = [
    "AudioInfo",
    "AudioReader",
    "decode",
    "encode",
    "write_audio",
]

_MIN_RATE_HZ, _MAX_RATE_HZ = 2_000, 1_000_000
_MAX_PLANES = 8
"""PyAV reads beyond the planes of a frame that has more, which ends the process."""

_MAX_CHANNELS = 64
"""FFmpeg's converter of samples knows no more."""

_MAX_HEARD_STREAMS = 16
"""Audio streams of a file that are decoded; what is in further ones counts as missing."""

_BATCH_S = 1.0
_MAX_READ_ERRORS = 16
_TRUNCATED_S, _TRUNCATED_SHARE = 0.5, 0.02
_DAMAGED_S = 0.1
"""Seconds that may be missing: without damaged packets (the larger of two), and with them."""


class AudioReader:
    """One audio file, decoded in blocks, in this process.

    ``auditor.audio.isolated.IsolatedReader`` does the same where a decoder may crash.  All audio
    streams are decoded, one after the other.

    Parameters
    ----------
    path : str, bytes or os.PathLike, or io.BytesIO
        File to read, whose name may hold any bytes; or an encoded file in memory.
    sample_rate_hz : int
        Rate of the blocks.
    block_s : float
        Length of a block, in seconds.
    mix : Mix
        How the channels become one.

    Attributes
    ----------
    info : AudioInfo
        What the file says of itself.
    n_bad_packets : int
        Damaged packets skipped so far.
    duration_s : float
        Seconds decoded so far.
    better_mix : Mix or None
        After the last block: the mix by which the file should be decoded again, since this one
        cancels or hides what it holds; None for nearly every file.
    truncated : bool
        After the last block: less was decoded than the header promises (by 0.5 s and 2 %, or by
        0.1 s where packets were damaged); or the last Ogg page is cut; or, in files that promise
        no length, packets were damaged.

    Raises
    ------
    AudioError
        If the file cannot be opened, is no audio, or (by ``blocks``) decodes to nothing.

    Examples
    --------
    >>> with AudioReader("song.mp3") as reader:  # doctest: +SKIP
    ...     for block in reader.blocks():
    ...         print(block.shape, block.dtype)
    (160000,) float32
    """

    def __init__(
        self,
        path: str | bytes | os.PathLike[str] | io.BytesIO,
        *,
        sample_rate_hz: int = SAMPLE_RATE_HZ,
        block_s: float = 10.0,
        mix: Mix = MEAN,
    ) -> None:
        check_blocks(block_s, sample_rate_hz)
        self.sample_rate_hz = sample_rate_hz
        self.n_bad_packets = 0
        self.truncated = False
        self.better_mix: Mix | None = None
        self._mixer = Mixer(mix)
        self._block_length = max(1, round(block_s * sample_rate_hz))
        self._n_samples = 0
        self._n_damaged = 0
        self._started = False
        self._container: av.container.InputContainer | None = None
        suffix = ""
        self._file: io.FileIO | io.BytesIO
        if isinstance(path, io.BytesIO):
            self._name, self._file = "audio in memory", path
        else:
            self._name, suffix = show_path(path), os.path.splitext(os.fsdecode(path))[1].lower()
            self._file = open_audio_file(path)
        try:
            self._suffix = suffix
            try:
                self._parts = music_parts(self._file)
                self._cut_short = ends_inside_ogg_page(self._parts[-1])
            except OSError as error:
                raise AudioError(
                    f"{self._name}: cannot be read: {error.strerror}. Check the disk.",
                    code="io-error",
                ) from None
            self._streams = self._open(0)
            self.info = self._inspect(self._streams[0], self._parts[0])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; the counts stay readable."""
        if self._container is not None:
            self._container.close()
        self._file.close()

    @property
    def duration_s(self) -> float:
        """Seconds decoded so far."""
        return self._n_samples / self.sample_rate_hz

    def better_channels(self) -> Mix | None:
        """Return ``better_mix`` as far as the blocks so far tell, without a gain."""
        better = self._mixer.better(stored_as_float=False)
        found = Mix(better.channels) if better else MEAN
        return None if found == MEAN else found

    def blocks(self) -> Iterator[np.ndarray]:
        """Decode the file once, from its start to its end.

        Yields
        ------
        numpy.ndarray
            (n,) float32 mono in [-8, 8], ``block_s`` seconds each but the last.

        Raises
        ------
        AudioError
            If nothing can be decoded.
        ValueError
            If called twice.
        """
        if self._started:
            raise ValueError("blocks() was called twice; open the file again")
        self._started = True
        pending: list[np.ndarray] = []
        n_pending = 0
        for chunk in resample(self._all_batches(), self.sample_rate_hz):
            self._n_samples += len(chunk)
            pending.append(chunk)
            n_pending += len(chunk)
            if n_pending >= self._block_length:
                joined = np.concatenate(pending)
                n_whole = n_pending - n_pending % self._block_length
                for start in range(0, n_whole, self._block_length):
                    yield joined[start : start + self._block_length].copy()
                pending, n_pending = [joined[n_whole:].copy()], n_pending - n_whole
        if self.n_bad_packets and is_encrypted(self._parts[0]):
            raise AudioError(
                f"{self._name}: is encrypted. Give a copy without protection.", code="encrypted"
            )
        if self._n_samples == 0:
            raise AudioError(
                f"{self._name}: holds no audio that can be decoded "
                f"({self.n_bad_packets} damaged packets). Give an intact file.",
                code="no-audio",
            )
        self.truncated = self._is_truncated()
        self.better_mix = self._mixer.better(stored_as_float=self.info.codec.startswith("pcm_f"))
        if n_pending:
            yield np.concatenate(pending)

    def _is_truncated(self) -> bool:
        missing_s = None if self.info.declared_s is None else self.info.declared_s - self.duration_s
        if self._cut_short:
            return True
        if missing_s is None:
            return self._n_damaged > 0
        tolerance_s = max(_TRUNCATED_S, _TRUNCATED_SHARE * (self.info.declared_s or 0.0))
        return missing_s > (_DAMAGED_S if self._n_damaged else tolerance_s)

    def _open(self, n: int) -> list[av.AudioStream]:
        """Open a part of the file; return its audio streams that can be decoded."""
        if self._container is not None:
            self._container.close()
        part = self._parts[n]
        part.seek(0)
        self._container = open_container(part, self._suffix, self._name)
        found = self._container.streams.audio
        if not found:
            raise AudioError(
                f"{self._name}: has no audio stream. Give a file with sound.", code="no-audio"
            )
        streams = [stream for stream in found if stream.codec_context is not None]
        if not streams:
            raise AudioError(
                f"{self._name}: its audio is in a format that cannot be decoded. "
                "Convert it to FLAC or MP3.",
                code="not-read",
            )
        for stream in streams:
            stream.codec_context.thread_count = 1
        self._n_unheard = max(0, len(streams) - _MAX_HEARD_STREAMS)
        return streams[:_MAX_HEARD_STREAMS]

    def _opens(self, n: int) -> bool:
        """Open a further part, or one again; say whether it could be, and count it if not."""
        try:
            self._streams = self._open(n)
        except AudioError:
            self._n_damaged += 1
            return False
        return True

    def _inspect(self, stream: av.AudioStream, part: FilePart) -> AudioInfo:
        container, context = self._container, stream.codec_context
        assert container is not None
        self._check_rate(context.sample_rate)
        return AudioInfo(
            declared_s=self._declared_s(stream, part),
            codec=getattr(context.codec, "canonical_name", "") or context.name,
            container=container.format.name,
            sample_rate_hz=context.sample_rate,
            n_channels=context.layout.nb_channels,
            bit_rate=stream.bit_rate or container.bit_rate or None,
            downmix=str(self._mixer.mixing),
        )

    def _declared_s(self, stream: av.AudioStream, part: FilePart) -> float | None:
        """Return the length that a part of the file promises for a stream, None without one."""
        container = self._container
        assert container is not None
        name = container.format.name
        at = part.tell()  # where FFmpeg goes on
        declared_s: float | None = None
        if name == "mp3":
            declared_s = mp3_declared_s(part)
        elif name not in HEADERLESS_CONTAINERS:
            if stream.duration is not None and stream.time_base:
                declared_s = float(stream.duration * stream.time_base)
            elif container.duration is not None and len(container.streams.audio) == 1:
                declared_s = container.duration / av.time_base
        promise = wav_promise(part)
        part.seek(at)
        return declared_s * promise if declared_s is not None and declared_s > 0 else None

    def _check_rate(self, rate_hz: int) -> None:
        if not _MIN_RATE_HZ <= rate_hz <= _MAX_RATE_HZ:
            raise AudioError(
                f"{self._name}: its sample rate is {rate_hz} Hz; "
                f"{_MIN_RATE_HZ} to {_MAX_RATE_HZ} Hz can be read. Give an intact file."
            )

    def _all_batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (rate, mono) of one stream after the other, of one part after the other."""
        lengths_s: list[float] = []
        declared_s: list[float | None] = []
        for n, part in enumerate(self._parts):
            if n and not self._opens(n):
                continue
            self._n_damaged += self._n_unheard
            for i in range(len(self._streams)):
                if i and not self._opens(n):  # each stream is read from the start of its part
                    break
                self._stream = self._streams[i]
                declared_s.append(self._declared_s(self._stream, part))
                length_s = 0.0
                for rate_hz, mono in self._batches():
                    length_s += len(mono) / rate_hz
                    yield rate_hz, mono
                lengths_s.append(length_s)
        if len(lengths_s) > 1:
            promised = [s for s in declared_s if s is not None]
            whole_s = sum(promised) if len(promised) == len(declared_s) else None
            self.info = dataclasses.replace(
                self.info, declared_s=whole_s, parts_s=tuple(round(s, 3) for s in lengths_s)
            )

    def _packets(self) -> Iterator[av.Packet[Any]]:
        container = self._container
        assert container is not None
        demuxed = container.demux(self._stream)
        n_errors = 0
        while True:
            try:
                packet = next(demuxed)
            except StopIteration:
                return
            except (av.FFmpegError, OSError, IndexError):
                # IndexError: of a stream that begins on the way, which PyAV does not know.
                self.n_bad_packets += 1
                self._n_damaged += 1
                n_errors += 1
                if n_errors > _MAX_READ_ERRORS:
                    return
                demuxed = container.demux(self._stream)
                continue
            n_errors = 0
            yield packet

    def _frames(self) -> Iterator[av.AudioFrame]:
        n_bad_in_a_row = 0
        for packet in self._packets():
            try:
                frames = packet.decode()
            except (av.FFmpegError, ValueError):
                if packet.size:  # an empty packet at the end of Ogg Vorbis is refused, and no harm
                    self.n_bad_packets += 1
                    n_bad_in_a_row += 1
                continue
            if frames:
                self._n_damaged += n_bad_in_a_row
                n_bad_in_a_row = 0
            yield from frames  # type: ignore[misc]  # an audio stream has audio frames
        if self.info.container != "mp3":  # what follows the last frame of an MP3 is tags or junk
            self._n_damaged += n_bad_in_a_row

    def _batches(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (rate, mono) in batches of about a second, so that Python's share stays small."""
        key: tuple[int, str, int] | None = None
        fifo = av.AudioFifo()
        packed: av.AudioResampler | None = None
        declared_channels = self._stream.codec_context.layout.nb_channels
        for frame in self._frames():
            if frame.samples == 0:
                continue
            n_channels = frame.layout.nb_channels
            if frame.format.is_planar and n_channels > _MAX_PLANES:
                if n_channels != declared_channels or n_channels > _MAX_CHANNELS:
                    self.n_bad_packets += 1  # what an encrypted stream decodes to
                    self._n_damaged += 1
                    continue
                packed = packed or av.AudioResampler(format="flt")
                frames = packed.resample(frame)
                if not frames:
                    continue
                frame = frames[0]
            frame_key = (frame.sample_rate, frame.format.name, n_channels)
            if key is not None and (frame_key != key or fifo.samples >= _BATCH_S * key[0]):
                yield from self._mixed(fifo, key)
            if frame_key != key:  # a fifo takes frames of one kind only
                self._check_rate(frame.sample_rate)
                key, fifo = frame_key, av.AudioFifo()
            frame.pts = None
            fifo.write(frame)
        if key is not None:
            yield from self._mixed(fifo, key)

    def _mixed(
        self, fifo: av.AudioFifo, key: tuple[int, str, int]
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yield what a fifo holds as (rate, mono); nothing if that cannot be read."""
        frame = fifo.read()
        if frame is None:
            return
        try:
            samples = frame.to_ndarray()
        except ValueError:
            self.n_bad_packets += 1
            self._n_damaged += 1
            return
        yield key[0], self._mixer.mix(samples, key[1], key[2], key[0])


def decode(data: bytes, *, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Decode an encoded file held in memory.

    Returns
    -------
    numpy.ndarray
        (n,) float32 mono.

    Raises
    ------
    AudioError
        If the bytes are no audio.

    Examples
    --------
    >>> import numpy as np
    >>> decode(encode(np.zeros(800), codec="flac")).shape
    (800,)
    """
    with AudioReader(io.BytesIO(data), sample_rate_hz=sample_rate_hz) as reader:
        return np.concatenate(list(reader.blocks()))
