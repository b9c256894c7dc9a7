"""Benchmarks against reference implementations. Run with `python -m benchmarks STAGE` in a checkout."""
