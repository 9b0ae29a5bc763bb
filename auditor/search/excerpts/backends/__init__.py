"""One module for each nearest-neighbour library; ``annoy`` names them all."""
