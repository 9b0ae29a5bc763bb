"""Audio files: which there are, their containers and tags, decoding to mono 16 kHz, and writing.

Not: features of the waveform (``embedding``), what the catalogue keeps of a file (``catalogue``).
"""

SAMPLE_RATE_HZ = 16_000
"""Every waveform inside the package is mono float32 at this rate, in hertz."""
