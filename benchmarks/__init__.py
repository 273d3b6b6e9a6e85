"""Benchmarks: each module runs ours and a reference side by side, interleaved, in one run."""
