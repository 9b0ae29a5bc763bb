"""Error rates: counted, extrapolated, kept in a threshold file, and turned into a threshold.

Not: scoring the pairs that are counted (``scoring``), running a calibration (``api.calibrate``).
"""
