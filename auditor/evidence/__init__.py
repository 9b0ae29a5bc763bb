"""What speaks for a pair: aligned d-vectors, spectra that agree, and the match score of both.

Not: the threshold and the verdict (``scoring``).
"""
