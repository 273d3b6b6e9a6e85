"""Measures: what a model's detections are worth against the ground truth."""
