"""Error rates: counted, extrapolated, kept in a threshold file, and turned into a threshold.

Not: scoring the pairs that are counted (``scoring``), running a calibration (``api.calibrate``).
"""

SCORES = ("match", "embedding-cosine")
"""What can be calibrated: the score that flags pairs, where the extractor's d-vectors can be
aligned; and the cosine of the embeddings, by which they sound alike, or else are flagged."""
