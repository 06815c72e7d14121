"""Rotation benchmarks, end to end and beside the floor. `python -m bench` runs them."""
