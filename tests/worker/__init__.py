"""The supervisor, driven with a small fake detector; real rows, real blobs, real processes."""
