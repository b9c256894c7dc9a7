"""`python -m benchmarks`, called in this process."""

from collections.abc import Sequence

from benchmarks.__main__ import BENCHMARKS
from mapping_stroke import cli


def run_bench(arguments: Sequence[str]) -> int:
    """Run a benchmark by its command line and return the exit status."""
    return cli.main(arguments, BENCHMARKS)
