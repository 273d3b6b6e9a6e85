"""Datasets: recognise, read and check an archive; augment and load images."""
