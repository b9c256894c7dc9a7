"""Balance of size-balanced and random folds, with as many cases and sites as in ATLAS R2.0."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

import numpy as np

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.heading import describe_head
from mapping_stroke.dataset.folds import largest_fold_distance, random_folds, size_balanced_folds
from mapping_stroke.simulation.lesions import atlas_load_mm3

TITLE = "Folds of 655 ATLAS-like cases: the largest Kolmogorov-Smirnov distance"
FOLDS = 5
CASES_OF_SITES = (
    *(38, 12, 15, 37, 18, 111, 26, 29, 5, 12, 8, 6, 7, 8, 11, 16, 13),
    *(5, 37, 24, 8, 49, 2, 45, 18, 2, 2, 7, 25, 23, 12, 7, 17),
)
"""Training cases of each of the 33 cohorts of ATLAS R2.0, counted in the authors' `fold_index.csv`; 655 in all."""
SHARE_WITH_SEVERAL = 0.15
"""Share of people with 2 to 5 scans in the second and third cohort; ATLAS R2.0 has one scan of each person."""
SITE_SPREAD, SCAN_SPREAD = 0.6, 0.2
"""Logarithmic standard deviations of the typical loads of sites, and of the scans of a person."""


@dataclass(frozen=True)
class Folds(Benchmark):
    """Compare the balance of folds of 655 cases with ATLAS-like loads with that of random folds."""

    repeats: int = 5
    """Seeds; medians are reported."""

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats)

    def report(self) -> str:
        """Make both kinds of folds, and list the medians and their ratio."""
        return bench_folds(self.repeats)


@dataclass(frozen=True)
class Cohort:
    """Cases to split into folds.

    Attributes:
        loads: Load in voxels, by case.
        groups: Group that must stay in one fold, by case; None for no groups.
    """

    loads: Mapping[str, int]
    groups: Mapping[str, str] | None


@dataclass(frozen=True)
class Comparison:
    """Folds of both kinds for one cohort.

    Attributes:
        ours: Largest Kolmogorov-Smirnov distance of the size-balanced folds.
        at_random: The same of random folds.
        our_sizes: Cases of the smallest and the largest size-balanced fold.
        random_sizes: The same of random folds.
    """

    ours: float
    at_random: float
    our_sizes: tuple[int, int]
    random_sizes: tuple[int, int]


def bench_folds(seeds: int = 10) -> str:
    """Split cohorts of 655 ATLAS-like cases with several seeds, and report the distances as Markdown.

    Args:
        seeds: Number of seeds, 1 or more; each makes its own loads and its own folds of both kinds.

    Returns:
        Date, machine, command, and a table with a row for each kind of grouping.
    """
    lines = []
    for number, what in enumerate(("none", "people, scans differ", "people, similar scans", "33 sites")):
        found = [compare(make_cohort(number, seed), seed) for seed in range(seeds)]
        ours, at_random = median(one.ours for one in found), median(one.at_random for one in found)
        lines.append(
            f"| {what} | {ours:.4f} | {max(one.ours for one in found):.4f} | {at_random:.4f} | {at_random / ours:.1f} "
            f"| {_range([one.our_sizes for one in found])} | {_range([one.random_sizes for one in found])} |"
        )
    return "\n".join(
        [
            *describe_head(TITLE, f"python -m benchmarks folds --repeats {seeds}", ("numpy",)),
            "Largest distance, over the 5 folds, between the lesion loads of a fold and those of all others; median "
            f"over {seeds} seeds, each with its own loads.",
            "",
            "| stays in one fold | size-balanced | worst seed | random | ratio | fold sizes | fold sizes, random |",
            "|---|---|---|---|---|---|---|",
            *lines,
            "",
            f"{SHARE_WITH_SEVERAL:.0%} of the people have 2 to 5 scans, with loads that differ as between people or "
            f"are similar (within about {SCAN_SPREAD:.0%}). Five similar scans at an end of the range already force a "
            "distance of about 5/131 = 0.038, as in the worst seeds. Each site has its own typical load; the largest "
            "has 111 of the 655 cases, so its fold necessarily differs from the others. Random folds keep the same "
            "groups together. Without groups, the smallest possible distance is 1/131 = 0.0076.",
            "",
        ]
    )


def make_cohort(number: int, seed: int) -> Cohort:
    """655 cases: without groups (0), of people whose scans differ (1) or are similar (2), or of sites (3)."""
    rng = np.random.default_rng(seed)
    cases = sum(CASES_OF_SITES)
    loads = [atlas_load_mm3(quantile) for quantile in rng.random(cases)]
    group_of, spread = np.arange(cases), 0.0
    if number in (1, 2):
        scans = np.where(rng.random(cases) < SHARE_WITH_SEVERAL, rng.integers(2, 6, cases), 1)
        group_of = np.repeat(group_of, scans)[:cases]  # people in order, each with as many scans as drawn
    if number == 2:
        loads = [loads[person] * np.exp(SCAN_SPREAD * rng.standard_normal()) for person in group_of]
    if number == 3:
        group_of, spread = np.repeat(np.arange(len(CASES_OF_SITES)), CASES_OF_SITES), SITE_SPREAD
    typical = np.exp(spread * rng.standard_normal(cases))
    voxels = np.clip(np.round(np.array(loads) * typical[group_of]), 13, 200_000).astype(int).tolist()
    names = [f"case{index:03}" for index in range(cases)]
    groups = {name: f"group{group:03}" for name, group in zip(names, group_of, strict=True)}
    return Cohort(dict(zip(names, voxels, strict=True)), groups if number else None)


def compare(cohort: Cohort, seed: int) -> Comparison:
    """Split a cohort both ways."""
    ours = size_balanced_folds(cohort.loads, FOLDS, seed, cohort.groups)
    at_random = random_folds(cohort.loads, FOLDS, seed, cohort.groups)
    return Comparison(
        ours=largest_fold_distance(cohort.loads, ours),
        at_random=largest_fold_distance(cohort.loads, at_random),
        our_sizes=_sizes(ours),
        random_sizes=_sizes(at_random),
    )


def _sizes(assignment: Mapping[str, int]) -> tuple[int, int]:
    sizes = Counter(assignment.values()).values()
    return min(sizes), max(sizes)


def _range(sizes: list[tuple[int, int]]) -> str:
    low, high = min(low for low, _ in sizes), max(high for _, high in sizes)
    return f"{low} to {high}" if low < high else str(low)
