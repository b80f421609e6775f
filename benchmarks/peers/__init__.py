"""Other programs on the same model, measured as latedge is: `python -m benchmarks.peers`."""
