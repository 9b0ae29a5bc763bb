"""Ranges measured and confirmed in the stored spectra: pitch, tempo, ends, and what was missed."""
