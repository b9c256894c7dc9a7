from collections import Counter
from itertools import pairwise

import pytest

from bench_command import run_bench
from benchmarks.folds import CASES_OF_SITES, compare, make_cohort
from mapping_stroke.dataset import folds as dataset_folds


def test_the_cohort_is_as_large_as_atlas() -> None:
    assert (len(CASES_OF_SITES), sum(CASES_OF_SITES)) == (33, 655)
    loads = sorted(make_cohort(0, seed=0).loads.values())
    assert len(loads) == 655
    assert loads[0] >= 13
    assert loads[-1] <= 200_000
    assert 3_000 <= loads[327] <= 6_000


@pytest.mark.parametrize("number", [1, 2])
def test_some_persons_have_several_scans(number: int) -> None:
    groups = make_cohort(number, seed=0).groups
    assert groups is not None
    scans = Counter(Counter(groups.values()).values())
    assert set(scans) == {1, 2, 3, 4, 5}
    assert 0.1 < 1 - scans[1] / sum(scans.values()) < 0.2


def test_scans_of_a_person_are_alike_only_where_it_is_said() -> None:
    def unlike(number: int) -> float:
        cohort = make_cohort(number, seed=0)
        groups = cohort.groups or {}
        ratios = [cohort.loads[a] / cohort.loads[b] for a, b in pairwise(cohort.loads) if groups[a] == groups[b]]
        return max(*ratios, *(1 / ratio for ratio in ratios))

    assert unlike(2) < 3 < unlike(1)


def test_folds_of_both_kinds_are_measured() -> None:
    found = compare(make_cohort(0, seed=0), seed=0)
    assert found.ours == pytest.approx(1 / 131)
    assert found.at_random > 5 * found.ours
    assert found.our_sizes == found.random_sizes == (131, 131)


def test_the_table_has_a_line_for_each_grouping(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataset_folds, "PATIENCE", 5)  # whether folds of persons and sites are good is tested elsewhere
    assert run_bench(["folds", "--repeats", "1"]) == 0
    text = capsys.readouterr().out
    assert "Command: `python -m benchmarks folds --repeats 1`." in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[1:]] == [
        "| none",
        "| people, scans differ",
        "| people, similar scans",
        "| 33 sites",
    ]
    assert rows[1].startswith("| none | 0.0076 | 0.0076 | ")
