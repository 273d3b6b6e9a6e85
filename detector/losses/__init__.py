"""The training losses: `harmonic` (the paper, a function per formula) and the `baseline` terms it weights."""
