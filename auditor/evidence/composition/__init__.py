"""What two tracks share as compositions: melody and harmony along an alignment of their pitches.

Not: which pitches a track has (``embedding.salience``), thresholds and verdicts (``scoring``).
"""
