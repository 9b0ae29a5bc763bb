"""From a waveform to d-vectors, the embedding and the stored spectrum, by a trained network.

Not: training that network (``training``), storing or comparing what it returns.
"""
