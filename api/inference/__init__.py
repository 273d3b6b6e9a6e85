"""Predictions in the HTTP process: models in memory, a bounded number of threads, no torch."""
