"""What a report plays and draws: clips, waveforms, similarity matrices, links."""
