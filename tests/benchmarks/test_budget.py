"""How many members are worth their time: which ensembles are scored, and the command on a run of four members."""

import csv
from pathlib import Path

import numpy as np
import pytest

from bench_command import run_bench
from benchmarks.budget_rows import make_rows
from benchmarks.budget_text import Cost
from benchmarks.ensembles import (
    Group,
    budgets,
    greedy_groups,
    groups_chosen_elsewhere,
    random_groups,
    scheme_and_fold_groups,
)
from mapping_stroke.evaluation.contributions import Subset
from mapping_stroke.files import write_csv
from mapping_stroke.images.image import Probability
from mapping_stroke.inference.ensemble import Ensemble, PreparedScan
from mapping_stroke.networks.cards import BundleMember
from mapping_stroke.networks.member_folder import write_member
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.prepare import prepare_run
from phantoms import write_phantoms
from small_models import SEEING, dark_weights, member_card

NAMES = ("default, fold 0", "default, fold 1", "residual, fold 0")
DICE: dict[Subset, list[float]] = {
    (0,): [0.5, 0.1],
    (1,): [0.2, 0.6],
    (2,): [0.3, 0.4],
    (0, 1): [0.4, 0.5],
    (0, 2): [0.6, 0.2],
    (1, 2): [0.5, 0.6],
    (0, 1, 2): [0.5, 0.5],
}
"""Dice of every ensemble of three members on two cases."""


def dice_of(subset: Subset) -> np.ndarray:
    return np.array(DICE[subset])


def test_budgets_double_up_to_half_of_the_members() -> None:
    assert [budgets(members) for members in (2, 3, 5, 8, 20)] == [
        [1, 2],
        [1, 3],
        [1, 2, 5],
        [1, 2, 4, 8],
        [1, 2, 4, 8, 20],
    ]


def test_the_greedy_order_of_members() -> None:
    groups = greedy_groups(NAMES, dice_of, 2)
    # means: 0.3, 0.4, 0.35; with the second 0.45 and 0.55; all 0.5
    assert [(group.members, group.which) for group in groups] == [(1, NAMES[1]), (2, NAMES[2]), (3, NAMES[0])]
    assert [group.ensembles for group in groups] == [(((1,),) * 2,), (((1, 2),) * 2,), (((0, 1, 2),) * 2,)]


def test_members_chosen_on_one_person_are_scored_on_the_other() -> None:
    (group,) = groups_chosen_elsewhere(3, dice_of, ("p", "q"))  # of one member; three leave no choice
    # the best for q is the second, which p gets; the best for p is the first, which q gets
    assert (group.members, group.ensembles) == (1, (((1,), (0,)),))
    assert groups_chosen_elsewhere(3, dice_of, ("p", "p")) == []


def test_random_orders_are_nested_and_come_from_the_seed() -> None:
    small, large, full = random_groups(5, orders=10, seed=3, cases=1)
    assert (len(small.ensembles), len(large.ensembles), full.ensembles) == (10, 10, (((0, 1, 2, 3, 4),),))
    for (one,), (two,) in zip(small.ensembles, large.ensembles, strict=True):
        assert set(one) < set(two)
    assert random_groups(5, orders=10, seed=3, cases=1) == [small, large, full]
    assert random_groups(5, orders=10, seed=4, cases=1) != [small, large, full]


def test_all_folds_of_schemes_and_all_schemes_of_a_fold() -> None:
    cards = [member_card(scheme, fold) for scheme in ("default", "residual") for fold in (0, 1)]
    found = [(group.which, group.ensembles) for group in scheme_and_fold_groups(cards, 1)]
    assert found == [
        ("default", (((0, 1),),)),
        ("residual", (((2, 3),),)),
        ("default, residual", (((0, 1, 2, 3),),)),
        ("default, residual", (((0, 2),), ((1, 3),))),
    ]


def test_a_fold_without_all_schemes_is_no_ensemble_of_one_fold() -> None:
    cards = [member_card("default", 0), member_card("default", 1), member_card("residual", 1)]
    assert scheme_and_fold_groups(cards, 1)[-1].ensembles == (((1, 2),),)


def test_gains_are_means_over_orders_paired_by_case() -> None:
    groups = [
        Group("random", 1, "", (((0,),) * 2, ((1,),) * 2)),
        Group("random", 2, "", (((0, 1),) * 2,)),
        Group("greedy", 1, "a", (((1,),) * 2,)),
    ]
    one, two, greedy = (np.array([DICE[0,], DICE[1,]]), np.array([DICE[0, 1]]), np.array([DICE[1,]]))
    rows = make_rows(groups, [(one, one), (two, one), (greedy, two)], ("p", "q"))
    assert (rows[0].dice.mean, rows[0].lowest, rows[0].highest) == pytest.approx((0.35, 0.3, 0.4))
    # 0.4 - 0.35 and 0.5 - 0.35
    assert rows[1].gain
    assert (rows[1].gain.mean, rows[1].gain.std) == pytest.approx((0.1, 0.05 * 2**0.5))  # of 0.05 and 0.15, paired
    assert (rows[0].gain, rows[2].gain) == (None, None)
    assert [row.minus_all.mean for row in rows] == pytest.approx([-0.1, 0, -0.05])
    assert [row.by_rule.mean for row in rows] == pytest.approx([0.35, 0.35, 0.45])


def test_cost_of_more_members() -> None:
    cost = Cost((60.0, 120.0), ((1.0, (2.0, 4.0)), (0.5, (1.0, 1.0)), (9.0, (8.0, 8.0))))
    assert (cost.train_s(4), cost.predict_s(1), cost.predict_s(2)) == (360, 4, 7)
    assert np.isnan(Cost((60.0, np.nan), cost.prediction_s).train_s(1))


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Two schemes on two folds; members of fold 1 mark a little less, those of the second scheme a little more."""
    run = RunFolder(tmp_path / "run")
    for number, scheme in enumerate(("default", "dice-topk10")):
        for fold in (0, 1):
            card = member_card(scheme, fold, **SEEING)
            weights = dark_weights(BundleMember(card))
            weights["decoder.seg_layers.0.bias"][1] += number / 2
            write_member(run.member(scheme, fold), weights, card)
            write_csv(run.member(scheme, fold) / "epochs.csv", ("seconds",), [{"seconds": 40}, {"seconds": 50}])
    return run


def measure(run: RunFolder, cohort: Path, *options: str) -> int:
    return run_bench(["budget", str(run.path), str(cohort), "--device", "cpu", "--orders", "3", *options])


def test_the_command_writes_tables_and_predicts_every_case_once(run: RunFolder, tmp_path: Path) -> None:
    cohort = write_phantoms(tmp_path / "cohort", labelled=3, unlabelled=1)
    report, table = tmp_path / "budget.md", tmp_path / "budget.csv"
    assert measure(run, cohort, "-o", str(report), "--table", str(table)) == 0
    text = report.read_text()
    assert "Command: `python -m benchmarks budget RUN HOLD_OUT --orders 3`." in text
    assert "3 cases of 3 people, lesions of 3.38 to 3.38 mL (median 3.38)." in text
    assert "2 schemes (default, dice-topk10) on 2 folds, size tiny, 8 epochs" in text
    assert "Simulated data" not in text
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["order"], row["members"]) for row in rows] == [
        *(("random", n) for n in "124"),
        *(("greedy", n) for n in "1234"),
        *(("greedy on other cases", n) for n in "12"),
        *(("all folds", n) for n in "224"),
        ("one fold", "2"),
    ]
    everyone = [row for row in rows if row["members"] == "4"]
    assert len({row["dice_mean"] for row in everyone}) == 1
    assert 0.5 < float(everyone[0]["dice_mean"]) <= 1
    assert (everyone[0]["train_s"], everyone[0]["which"]) == ("360.0", "")
    maps = sorted((tmp_path / "run-budget").glob("*.npz"))
    assert [path.stem for path in maps] == ["p0", "p1", "p2"]
    times = [path.stat().st_mtime_ns for path in maps]
    first = report.read_bytes()
    assert measure(run, cohort, "-o", str(report)) == 0
    assert [path.stat().st_mtime_ns for path in maps] == times
    assert report.read_bytes() == first


def test_a_changed_mask_and_a_damaged_map_are_read_again(run: RunFolder, tmp_path: Path) -> None:
    cohort = write_phantoms(tmp_path / "cohort", labelled=2, unlabelled=0)
    assert measure(run, cohort) == 0
    maps = [tmp_path / "run-budget" / f"p{number}.npz" for number in range(2)]
    maps[0].write_bytes(b"damaged")
    (cohort / "p1_lesion.nii.gz").write_bytes((cohort / "p0_lesion.nii.gz").read_bytes())
    before = maps[1].read_bytes()
    assert measure(run, cohort) == 0
    assert np.load(maps[0])["steps"].shape[0] == 4
    assert maps[1].read_bytes() != before


def test_a_further_member_is_predicted_alone(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cohort = write_phantoms(tmp_path / "cohort", labelled=2, unlabelled=0)
    card = run.member("default", 1) / "member.json"
    text = card.read_text()
    card.unlink()
    assert measure(run, cohort) == 0
    card.write_text(text)
    names: list[str] = []
    predict = Ensemble.predict_member

    def noting(self: Ensemble, member: BundleMember, prepared: PreparedScan) -> Probability:
        names.append(member.card.name)
        return predict(self, member, prepared)

    monkeypatch.setattr(Ensemble, "predict_member", noting)
    assert measure(run, cohort) == 0
    assert names == ["default, fold 1"] * 2


def test_cases_of_the_run_are_refused(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cohort = write_phantoms(tmp_path / "cohort", labelled=2, unlabelled=0)
    prepare_run(cohort, RunFolder(tmp_path / "other"))
    run.data_csv.parent.mkdir()
    run.data_csv.write_bytes(RunFolder(tmp_path / "other").data_csv.read_bytes())
    assert measure(run, cohort) == 2
    assert "p0_T1w.nii.gz: is the case p0 of " in capsys.readouterr().err
    assert not (tmp_path / "run-budget").exists()


def test_a_case_that_fails_is_counted_and_the_others_are_scored(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_phantoms(tmp_path / "cohort", labelled=3, unlabelled=0)
    (cohort / "p1_T1w.nii.gz").write_bytes(b"damaged")
    assert measure(run, cohort) == 0
    assert "2 cases of 2 people, lesions of 3.38 to 3.38 mL (median 3.38); 1 case failed." in capsys.readouterr().out


def test_too_few_members_or_orders_are_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort = write_phantoms(tmp_path / "cohort", labelled=1, unlabelled=0)
    assert measure(run, cohort, "--orders", "0") == 2
    assert "--orders must be 1 or more" in capsys.readouterr().err
    assert measure(RunFolder(tmp_path / "none"), cohort) == 2
    assert "holds no trained member; run `mapping train" in capsys.readouterr().err
    for scheme, fold in (("default", 1), ("dice-topk10", 0), ("dice-topk10", 1)):
        (run.member(scheme, fold) / "member.json").unlink()
    assert measure(run, cohort) == 2
    assert "has one trained member, expected two or more" in capsys.readouterr().err
