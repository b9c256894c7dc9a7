import numpy as np
import pytest
from hypothesis import given
from hypothesis.strategies import floats, integers

from mapping_stroke.simulation.lesions import atlas_load_mm3, split_load, spread_quantile


def test_loads_follow_atlas() -> None:
    loads = np.array([atlas_load_mm3(quantile) for quantile in np.linspace(0, 1, 1001)])
    assert loads.min() == pytest.approx(13)
    assert loads.max() == pytest.approx(200_000)
    assert (np.diff(loads) > 0).all()
    quantiles_ml = np.quantile(loads, (0.05, 0.25, 0.5, 0.75, 0.95)) / 1000
    assert quantiles_ml == pytest.approx([0.14, 1.0, 4.3, 31.9, 136], rel=0.25)
    assert (loads >= 20_000).mean() == pytest.approx(0.31, abs=0.02)


def test_a_larger_cut_adds_larger_loads_and_keeps_the_smallest() -> None:
    assert atlas_load_mm3(1.0, 300_000.0) == pytest.approx(300_000)
    assert atlas_load_mm3(0.0, 300_000.0) == pytest.approx(13)
    assert atlas_load_mm3(0.9, 300_000.0) > atlas_load_mm3(0.9)


def test_about_half_of_the_cases_have_one_lesion_as_in_atlas() -> None:
    loads = [atlas_load_mm3(quantile) for quantile in np.linspace(0, 1, 2000)]
    single = [len(split_load(load, np.random.default_rng(seed))) == 1 for seed, load in enumerate(loads)]
    assert np.mean(single) == pytest.approx(0.47, abs=0.03)


@given(floats(0, 1), integers(0, 1000))
def test_any_twenty_neighbouring_cases_cover_all_sizes(offset: float, first: int) -> None:
    quantiles = np.sort([spread_quantile(index, offset) for index in range(first, first + 20)])
    gaps = np.diff(np.r_[quantiles, quantiles[0] + 1])
    assert gaps.max() < 0.13


@given(floats(13, 200_000), integers(0, 2**32))
def test_the_parts_of_a_load_add_up_to_it_largest_first(load_mm3: float, seed: int) -> None:
    parts = split_load(load_mm3, np.random.default_rng(seed))
    assert sum(parts) == pytest.approx(load_mm3)
    assert parts == sorted(parts, reverse=True)
    assert min(parts) >= 10


def test_larger_loads_have_more_lesions() -> None:
    def mean_count(load_mm3: float) -> float:
        return float(np.mean([len(split_load(load_mm3, np.random.default_rng(seed))) for seed in range(300)]))

    counts = [mean_count(load_mm3) for load_mm3 in (30, 1_000, 10_000, 100_000)]
    assert counts == sorted(counts)
    assert counts[0] < 1.3
    assert counts[-1] > 2
