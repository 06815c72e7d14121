"""Measurements. Not part of the tests; `make bench` runs them."""
