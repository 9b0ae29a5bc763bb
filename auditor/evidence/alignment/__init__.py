"""Ranges of two tracks whose d-vectors agree along a straight line in time."""
