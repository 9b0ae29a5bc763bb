"""Waveforms to audio files: clips for reports, music for demos, and round trips for alterations.

The encoders are those in PyAV's wheel; nothing else has to be installed.
"""

from __future__ import annotations

import io
import os
from fractions import Fraction

import av
import numpy as np

from auditor.audio import SAMPLE_RATE_HZ
from auditor.errors import AudioError, show_path
from auditor.serialisation import atomic_write

_ENCODERS: dict[str, tuple[str, str, str]] = {
    "wav": ("wav", "pcm_s16le", "s16"),
    "flac": ("flac", "flac", "s16"),
    "mp3": ("mp3", "libmp3lame", "fltp"),
    "ogg": ("ogg", "vorbis", "fltp"),
    "opus": ("ogg", "libopus", "flt"),
    "aac": ("ipod", "aac", "fltp"),
}
_OPUS_RATES_HZ = (8_000, 12_000, 16_000, 24_000, 48_000)


def encode(
    waveform: np.ndarray,
    *,
    codec: str,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    bit_rate: int | None = None,
) -> bytes:
    """Encode a waveform in memory, into the same bytes for the same waveform.

    Parameters
    ----------
    waveform : numpy.ndarray
        (n,) mono or (n_channels, n) float, full scale at 1; what lies above is clipped.
    codec : str
        ``wav`` and ``flac`` (16 bit), ``mp3``, ``ogg`` (Vorbis, always stereo), ``opus`` or ``aac``
        (in an MP4 container).
    sample_rate_hz : int
        Rate of the waveform.
    bit_rate : int, optional
        Bits per second; the encoder's default if None.

    Returns
    -------
    bytes
        A whole file.

    Raises
    ------
    ValueError
        If the codec is unknown, the waveform empty or its rate one that the codec does not have.
    """
    if codec not in _ENCODERS:
        raise ValueError(f"codec is {codec!r}; it must be one of {', '.join(sorted(_ENCODERS))}")
    channels = np.atleast_2d(np.asarray(waveform, dtype=np.float32))
    if channels.ndim != 2 or channels.size == 0 or len(channels) > 2:
        raise ValueError(f"waveform has shape {np.shape(waveform)}; (n,) or (2, n) is needed")
    if codec == "opus" and sample_rate_hz not in _OPUS_RATES_HZ:
        raise ValueError(f"sample_rate_hz is {sample_rate_hz}; Opus has {_OPUS_RATES_HZ}")
    if codec == "ogg" and len(channels) == 1:
        channels = np.repeat(channels, 2, axis=0)
    channels = np.clip(np.nan_to_num(channels), -1.0, 1.0)
    container_name, encoder, sample_format = _ENCODERS[codec]
    layout = "mono" if len(channels) == 1 else "stereo"
    options = {"strict": "experimental"} if codec == "ogg" else {}
    # FFmpeg draws a random serial number for each Ogg stream unless it is told not to.
    exact = {"fflags": "+bitexact"} if container_name == "ogg" else {}
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container_name, container_options=exact) as container:
        stream = container.add_stream(encoder, rate=sample_rate_hz, options=options)
        assert isinstance(stream, av.AudioStream)  # an encoder of audio makes no other
        stream.codec_context.layout = layout
        stream.codec_context.format = sample_format
        if bit_rate is not None:
            stream.codec_context.bit_rate = bit_rate
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 4096
        converter = av.AudioResampler(sample_format, layout, sample_rate_hz, frame_size=size)
        n_sent = 0

        def mux(frame: av.AudioFrame) -> None:
            nonlocal n_sent
            frame.pts, frame.time_base = n_sent, Fraction(1, sample_rate_hz)
            n_sent += frame.samples
            container.mux(stream.encode(frame))

        for start in range(0, channels.shape[1], sample_rate_hz):
            part = np.ascontiguousarray(channels[:, start : start + sample_rate_hz])
            frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
            frame.sample_rate = sample_rate_hz
            for ready in converter.resample(frame):
                mux(ready)
        for ready in converter.resample(None):
            mux(ready)
        container.mux(stream.encode(None))
    return buffer.getvalue()


def write_audio(
    path: str | os.PathLike[str],
    waveform: np.ndarray,
    *,
    codec: str,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    bit_rate: int | None = None,
) -> None:
    """Encode a waveform into a file, which appears whole or not at all.

    Parameters are those of ``encode``.

    Raises
    ------
    ValueError
        As ``encode`` does.
    AudioError
        If the file cannot be written.
    """
    data = encode(waveform, codec=codec, sample_rate_hz=sample_rate_hz, bit_rate=bit_rate)
    try:
        atomic_write(path, data)
    except OSError as error:
        raise AudioError(
            f"{show_path(path)}: cannot be written: {error.strerror}. Choose another place."
        ) from None
