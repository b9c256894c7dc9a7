"""Benchmarks against reference implementations; run with `python -m benchmarks STAGE` in a checkout."""
