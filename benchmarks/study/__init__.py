"""The study: baseline against harmonic loss, and the paper's ablation, over datasets, families and seeds."""
