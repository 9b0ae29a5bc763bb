"""An index over all d-vectors of a catalogue, in shards, and the votes of its hits for tracks.

Not: the decision about the candidates that it proposes.
"""
