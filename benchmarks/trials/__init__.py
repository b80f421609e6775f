"""What shows how far `latedge bench` can be trusted; `python -m benchmarks.harness_trials`."""
