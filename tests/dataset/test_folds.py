from collections import Counter
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.strategies import DrawFn, composite, integers, lists, randoms
from scipy.stats import ks_2samp

from cohorts import make_case
from mapping_stroke.dataset.folds import (
    fold_distances,
    largest_fold_distance,
    random_folds,
    read_folds,
    require_whole_groups,
    size_balanced_folds,
    write_folds,
)
from mapping_stroke.errors import FoldsError

SIX = {"a": 1, "b": 2, "c": 3, "d": 40, "e": 50, "f": 60}


def name_cases(loads: list[int]) -> dict[str, int]:
    return {f"c{number:03}": load for number, load in enumerate(loads)}


def atlas_like(cases: int, seed: int) -> dict[str, int]:
    """Loads from 13 to 200 000 voxels, half of them under 5 000."""
    loads = np.exp(np.random.default_rng(seed).normal(np.log(4800), 2, cases))
    return name_cases(np.clip(loads, 13, 200_000).astype(int).tolist())


def some_with_several_scans(loads: Mapping[str, int], seed: int) -> dict[str, str]:
    """Persons of whom about every seventh has 2 to 5 scans."""
    rng = np.random.default_rng(seed)
    scans = np.where(rng.random(len(loads)) < 0.15, rng.integers(2, 6, len(loads)), 1)
    person = np.repeat(np.arange(len(loads)), scans)[: len(loads)]
    return {case_id: f"p{number}" for case_id, number in zip(loads, person, strict=True)}


@composite
def grouped_loads(draw: DrawFn) -> tuple[dict[str, int], dict[str, str]]:
    loads = draw(lists(integers(0, 300), min_size=8, max_size=40))
    groups = draw(lists(integers(0, 9), min_size=len(loads), max_size=len(loads)))
    groups[:3] = [10, 11, 12]
    named = name_cases(loads)
    return named, {case_id: f"p{group}" for case_id, group in zip(named, groups, strict=True)}


def test_each_block_of_neighbours_in_load_is_dealt_out() -> None:
    folds = size_balanced_folds(SIX, folds=3)
    assert {folds["a"], folds["b"], folds["c"]} == {folds["d"], folds["e"], folds["f"]} == {0, 1, 2}


def test_folds_of_unlike_sizes_advance_in_step() -> None:
    loads = name_cases([1, 2, 3, 4, 5, 6, 7])
    for seed in range(5):
        folds = list(size_balanced_folds(loads, 2, seed).values())
        larger = folds[0]
        assert folds == [larger, 1 - larger] * 3 + [larger]


@settings(max_examples=30)
@given(lists(integers(0, 10_000), min_size=2, max_size=6, unique=True), integers(2, 3))
def test_no_folds_of_one_size_are_more_alike(loads: list[int], number: int) -> None:
    loads = loads[: len(loads) // number * number]
    if len(loads) < number:
        return
    named = name_cases(loads)
    least = min(
        largest_fold_distance(named, dict(zip(named, folds, strict=True)))
        for folds in permutations(list(range(number)) * (len(loads) // number))
    )
    assert largest_fold_distance(named, size_balanced_folds(named, number)) == pytest.approx(least)


def test_folds_come_in_the_order_of_the_loads() -> None:
    assert list(size_balanced_folds(SIX, folds=2)) == list(SIX)


def test_another_seed_gives_other_folds() -> None:
    loads = atlas_like(50, seed=0)
    assert len({tuple(size_balanced_folds(loads, seed=seed).values()) for seed in range(5)}) == 5


def test_a_person_with_several_scans_is_in_one_fold() -> None:
    groups = {"a": "x", "b": "y", "c": "z", "d": "x", "e": "y", "f": "z"}
    folds = size_balanced_folds(SIX, folds=3, groups=groups)
    assert (folds["a"], folds["b"], folds["c"]) == (folds["d"], folds["e"], folds["f"])
    assert Counter(folds.values()) == {0: 2, 1: 2, 2: 2}


def test_ties_in_load_are_no_obstacle() -> None:
    folds = size_balanced_folds(name_cases([7] * 10), folds=5)
    assert set(Counter(folds.values()).values()) == {2}
    assert largest_fold_distance(name_cases([7] * 10), folds) == 0.0


def test_atlas_like_folds_are_far_more_alike_than_at_random() -> None:
    for seed in range(3):
        loads = atlas_like(655, seed)
        at_random = np.median([largest_fold_distance(loads, random_folds(loads, seed=other)) for other in range(9)])
        assert largest_fold_distance(loads, size_balanced_folds(loads, seed=seed)) == pytest.approx(1 / 131)
        assert at_random > 8 / 131


def test_folds_stay_alike_with_several_scans_of_some_persons() -> None:
    loads = atlas_like(655, seed=0)
    groups = some_with_several_scans(loads, seed=0)
    folds = size_balanced_folds(loads, seed=0, groups=groups)
    at_random = [largest_fold_distance(loads, random_folds(loads, seed=seed, groups=groups)) for seed in range(9)]
    require_whole_groups(folds, groups)
    assert largest_fold_distance(loads, folds) < np.median(at_random) / 6
    sizes = Counter(folds.values()).values()
    assert max(sizes) - min(sizes) <= 1


def test_folds_of_sites_are_more_alike_than_at_random() -> None:
    sizes = [38, 12, 15, 37, 18, 111, 26, 29, 5, 12, 8, 6, 7, 8, 11, 16, 13, 5, 37, 24, 8, 49, 2, 45, 18, 2, 2, 7, 25]
    loads = atlas_like(sum(sizes), seed=1)
    groups = dict(zip(loads, np.repeat([f"R{site:03}" for site in range(len(sizes))], sizes).tolist(), strict=True))
    folds = size_balanced_folds(loads, groups=groups)
    at_random = [largest_fold_distance(loads, random_folds(loads, seed=seed, groups=groups)) for seed in range(9)]
    require_whole_groups(folds, groups)
    assert largest_fold_distance(loads, folds) < np.median(at_random) / 1.5


@given(lists(integers(0, 1000), min_size=5, max_size=40), integers(2, 5), integers(0, 3))
def test_every_case_is_in_one_fold_and_sizes_differ_by_one_at_most(loads: list[int], number: int, seed: int) -> None:
    named = name_cases(loads)
    for folds in (size_balanced_folds(named, number, seed), random_folds(named, number, seed)):
        assert folds.keys() == named.keys()
        sizes = Counter(folds.values())
        assert sizes.keys() == set(range(number))
        assert max(sizes.values()) - min(sizes.values()) <= 1


@given(lists(integers(0, 1000), min_size=5, max_size=30), randoms(use_true_random=False))
def test_the_order_of_the_cases_does_not_matter(loads: list[int], random) -> None:
    named = name_cases(loads)
    shuffled = list(named.items())
    random.shuffle(shuffled)
    assert size_balanced_folds(dict(shuffled)) == size_balanced_folds(named)
    assert random_folds([case_id for case_id, _ in shuffled]) == random_folds(named)


@settings(max_examples=15, deadline=None)
@given(grouped_loads(), integers(2, 3), randoms(use_true_random=False))
def test_groups_stay_together_whatever_the_order(
    grouped: tuple[dict[str, int], dict[str, str]], number: int, random
) -> None:
    loads, groups = grouped
    folds = size_balanced_folds(loads, number, groups=groups)
    require_whole_groups(folds, groups)
    assert set(folds.values()) == set(range(number))
    shuffled = list(loads.items())
    random.shuffle(shuffled)
    assert size_balanced_folds(dict(shuffled), number, groups=groups) == folds


@given(lists(integers(0, 50), min_size=4, max_size=40), integers(2, 4), integers(0, 9))
def test_distances_are_those_of_scipy(loads: list[int], number: int, seed: int) -> None:
    named = name_cases(loads)
    folds = random_folds(named, number, seed)
    for fold, distance in fold_distances(named, folds).items():
        inside = [load for case_id, load in named.items() if folds[case_id] == fold]
        rest = [load for case_id, load in named.items() if folds[case_id] != fold]
        assert distance == pytest.approx(ks_2samp(inside, rest, method="asymp").statistic)


def test_distances_may_be_asked_of_any_fold_numbers() -> None:
    assert fold_distances({"a": 1, "b": 2, "c": 9}, {"a": 3, "b": 7, "c": 7}) == {3: 1.0, 7: 1.0}


def test_no_fold_is_empty_where_there_are_as_many_groups() -> None:
    groups = dict(zip(SIX, "xxyyzz", strict=True))
    assert Counter(size_balanced_folds(SIX | {"c": 60}, 3, groups=groups).values()) == {0: 2, 1: 2, 2: 2}


def test_fewer_cases_than_folds_are_refused() -> None:
    for split in (size_balanced_folds, random_folds):
        with pytest.raises(FoldsError, match="fewer cases than folds: 4 labelled cases for 5 folds"):
            split(name_cases([1, 2, 3, 4]))


def test_fewer_groups_than_folds_are_refused() -> None:
    with pytest.raises(FoldsError, match="fewer groups than folds: 2 groups of cases for 3 folds"):
        size_balanced_folds(SIX, 3, groups=dict.fromkeys("abc", "x") | dict.fromkeys("def", "y"))


def test_less_than_two_folds_are_refused() -> None:
    with pytest.raises(FoldsError, match="got 1 folds, expected 2 or more"):
        size_balanced_folds(SIX, 1)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(FoldsError, match="got seed -1, expected 0 or more"):
        size_balanced_folds(SIX, 2, seed=-1)


def test_a_negative_load_is_refused() -> None:
    with pytest.raises(FoldsError, match="b: has a load of -2 voxels"):
        size_balanced_folds(SIX | {"b": -2}, 2)


def test_a_case_without_group_is_refused() -> None:
    with pytest.raises(FoldsError, match="c, d, e and 1 more: group unknown"):
        size_balanced_folds(SIX, 2, groups={"a": "x", "b": "y", "c": ""})


def test_distances_need_two_folds_and_all_loads() -> None:
    with pytest.raises(FoldsError, match="all cases are in 1 fold"):
        fold_distances(SIX, dict.fromkeys(SIX, 0))
    with pytest.raises(FoldsError, match="g: the lesion load is unknown"):
        fold_distances(SIX, {"a": 0, "g": 1})


CASES = [make_case(f"sub-{person}_ses-{session}", subject=person) for person, session in ("a1", "a2", "b1", "c1")]
GIVEN = {"sub-a_ses-1": 1, "sub-a_ses-2": 1, "sub-b_ses-1": 0, "sub-c_ses-1": 2}


def write(path: Path, folds: Mapping[str, object], header: str = "case_id,fold", ending: str = "") -> Path:
    path.write_text("\n".join([header, *(f"{name}{ending},{fold}" for name, fold in folds.items())]) + "\n")
    return path


def test_folds_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_folds(tmp_path / "folds.csv", dict(reversed(GIVEN.items())))
    assert (tmp_path / "folds.csv").read_text().splitlines()[:2] == ["case_id,fold", "sub-a_ses-1,1"]
    assert list(read_folds(tmp_path / "folds.csv", CASES).items()) == list(GIVEN.items())


def test_the_authors_form_is_matched_by_the_leading_parts(tmp_path: Path) -> None:
    path = write(tmp_path / "given.csv", GIVEN, "Name,Fold", "_space-MNI152NLin2009aSym_T1w")
    assert read_folds(path, CASES) == GIVEN


def test_the_longest_case_id_is_matched(tmp_path: Path) -> None:
    cases = [make_case("a"), make_case("a_b"), make_case("c")]
    path = write(tmp_path / "given.csv", {"a_b_T1w": 0, "a_T1w": 1, "c": 1}, "Name,Fold")
    assert read_folds(path, cases) == {"a": 1, "a_b": 0, "c": 1}


def test_the_authors_own_file_fits_their_655_cases(shared: Path) -> None:
    path = shared / "paper" / "fold_index.csv"
    names = [line.split("_space")[0] for line in path.read_text().splitlines()[1:]]
    folds = read_folds(path, [make_case(name, subject=name.split("_")[0]) for name in reversed(names)])
    assert Counter(folds.values()) == dict.fromkeys(range(5), 131)
    assert (folds["sub-r001s001_ses-1"], folds["sub-r001s004_ses-1"]) == (3, 0)
    with pytest.raises(FoldsError, match=r"sub-r001s001_\S*, sub-r001s002_\S*, \S* and 652 more: unknown case id"):
        read_folds(path, CASES)


@pytest.mark.parametrize(
    ("folds", "header", "message"),
    [
        (GIVEN | {"sub-z": 0}, "case_id,fold", r"given\.csv: sub-z: unknown case id"),
        (GIVEN | {"sub-z": 0}, "Name,Fold", r"given\.csv: sub-z: unknown case id"),
        (GIVEN | {"sub-a_ses-1_T1w": 0}, "case_id,fold", "sub-a_ses-1_T1w: unknown case id"),
        (GIVEN | {"sub-a_ses-1_T1w": 1}, "Name,Fold", "case sub-a_ses-1 occurs more than once"),
        ({"sub-b_ses-1": 0}, "case_id,fold", "sub-a_ses-1, sub-a_ses-2, sub-c_ses-1: no fold; add a line"),
        (
            GIVEN | {"sub-b_ses-1": "first"},
            "case_id,fold",
            "case sub-b_ses-1 has fold 'first', expected a whole number",
        ),
        (GIVEN | {"sub-b_ses-1": 0.5}, "case_id,fold", "has fold '0.5'"),
        (GIVEN | {"sub-b_ses-1": -1}, "case_id,fold", "has fold '-1'"),
        (GIVEN | {"sub-b_ses-1": ""}, "case_id,fold", "has fold ''"),
        (dict.fromkeys(GIVEN, 0), "case_id,fold", "all cases are in one fold"),
        (GIVEN, "case,number", "has the columns case, number, expected case_id,fold"),
        ({}, "case_id,fold", "has no lines, expected case_id,fold"),
        (
            GIVEN | {"sub-a_ses-2": 0},
            "case_id,fold",
            "subject a is in two folds .sub-a_ses-1 in 1, sub-a_ses-2 in 0.",
        ),
    ],
)
def test_folds_that_do_not_fit_are_refused(tmp_path: Path, folds: dict[str, object], header: str, message: str) -> None:
    with pytest.raises(FoldsError, match=message):
        read_folds(write(tmp_path / "given.csv", folds, header), CASES)


def test_a_line_without_fold_is_refused(tmp_path: Path) -> None:
    (tmp_path / "given.csv").write_text("case_id,fold\nsub-a_ses-1\n")
    with pytest.raises(FoldsError, match="has fold ''"):
        read_folds(tmp_path / "given.csv", CASES)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FoldsError, match="cannot be read"):
        read_folds(tmp_path / "none.csv", CASES)
    (tmp_path / "given.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FoldsError, match="cannot be read"):
        read_folds(tmp_path / "given.csv", CASES)


def test_a_site_in_two_folds_is_named_as_such() -> None:
    with pytest.raises(FoldsError, match="site R001 is in two folds"):
        require_whole_groups({"a": 0, "b": 1}, {"a": "R001", "b": "R001"}, "site")
