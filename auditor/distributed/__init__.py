"""A scan on many machines: Ray starts the workers, shared storage holds what they make.

Every worker runs the functions of the one-machine scan (``ingest.prepare`` and the works of
``scoring.candidates`` and ``scoring.examine``), so the result is the same.  What is done is a file
on the shared storage, named by its inputs and whole as soon as it is there; a run that was killed
goes on from those files.  Nothing read from the storage is unpickled.  Among its own processes Ray
passes functions and arguments by cloudpickle: whoever can talk to a Ray cluster can run code on it.
"""
