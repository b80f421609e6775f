"""What runs in the peers' own environments: it needs their libraries, NumPy and nothing else."""
