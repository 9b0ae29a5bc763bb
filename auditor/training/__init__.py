"""A GE2E extractor from a folder of music: the data set, batches, loss, loop and checkpoints.

Not: using the extractor (``embedding``).
"""
