"""Searches: which values of a config's parameters give the best detector, a few trainings at a time."""
