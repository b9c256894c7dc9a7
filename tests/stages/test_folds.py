from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from cohorts import make_case
from mapping_stroke.cli import main
from mapping_stroke.dataset.cases import Case, write_cases
from mapping_stroke.dataset.folds import read_folds, write_folds
from mapping_stroke.files import read_csv
from mapping_stroke.run_folder import RunFolder, claim_folder, read_sections

CASES = [
    *(
        make_case(f"sub-{person}_ses-{session}", 10 * person + session, f"p{person}")
        for person in range(6)
        for session in (1, 2)
    ),
    make_case("sub-7_ses-1", None),
]
CASES = [replace(case, site=f"R00{number % 4 // 2}") for number, case in enumerate(CASES)]
LABELLED = CASES[:-1]

pytestmark = pytest.mark.usefixtures("coarse_pictures")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run folder after `prepare`."""
    return prepared(RunFolder(tmp_path / "run"), CASES)


def prepared(run: RunFolder, cases: list[Case]) -> RunFolder:
    claim_folder(run.path, {"kind": "experiment"})
    write_cases(run.cases_csv, cases)
    return run


def fold(run: RunFolder, *more: str) -> int:
    return main(["folds", str(run.path), *more])


def refusal(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_labelled_cases_get_folds(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert fold(run, "--number", "3") == 0
    folds = read_folds(run.folds_csv, LABELLED)
    assert Counter(folds.values()) == {0: 4, 1: 4, 2: 4}
    assert {path.name for path in run.folds_csv.parent.iterdir()} == {"folds.csv", "balance.csv", "balance.png"}
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "12 labelled cases in 3 folds (size-balanced) of 4 to 4 cases; each subject in one fold"
    assert told[1].startswith("largest Kolmogorov-Smirnov distance between a fold's loads and the rest: 0.5000")
    assert told[2] == f"folds: {run.folds_csv}"


def test_persons_stay_whole(run: RunFolder) -> None:
    assert fold(run) == 0
    folds = read_folds(run.folds_csv, LABELLED)
    assert all(folds[f"sub-{person}_ses-1"] == folds[f"sub-{person}_ses-2"] for person in range(6))


def test_the_balance_is_written_beside_that_of_a_random_split(run: RunFolder) -> None:
    assert fold(run, "--number", "2") == 0
    rows = read_csv(run.balance_csv)
    assert [(row["split_kind"], row["fold"]) for row in rows] == [
        ("size-balanced", "0"),
        ("size-balanced", "1"),
        ("random", "0"),
        ("random", "1"),
    ]
    assert all(row["cases"] == "6" for row in rows)
    assert all(0 <= float(row["ks_distance"]) <= 1 for row in rows)


def test_the_same_seed_gives_the_same_folds(run: RunFolder) -> None:
    def folds_of(seed: str) -> str:
        assert fold(run, "--number", "2", "--seed", seed) == 0
        return run.folds_csv.read_text()

    assert folds_of("1") == folds_of("1")
    assert len({folds_of(str(seed)) for seed in range(3)}) > 1


def test_the_settings_of_the_folds_are_recorded(run: RunFolder, tmp_path: Path) -> None:
    assert fold(run, "--number", "2", "--seed", "4") == 0
    assert read_sections(run.config_toml)["folds"] == {"number": 2, "seed": 4, "group_by": "subject"}
    given = tmp_path / "given.csv"
    given.write_bytes(run.folds_csv.read_bytes())
    assert fold(run, "--folds", str(given)) == 0
    assert read_sections(run.config_toml)["folds"] == {"folds": str(given), "group_by": "subject"}


def test_sites_stay_whole(tmp_path: Path) -> None:
    cases = [make_case(f"c{number}", number, site=f"R{number // 3}") for number in range(12)]
    run = prepared(RunFolder(tmp_path / "run"), cases)
    assert fold(run, "--number", "2", "--group-by", "site") == 0
    folds = read_folds(run.folds_csv, cases)
    assert all(folds[f"c{number}"] == folds[f"c{number // 3 * 3}"] for number in range(12))


def test_an_unknown_site_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = prepared(RunFolder(tmp_path / "run"), [replace(CASES[0], site=""), *CASES[1:]])
    assert fold(run, "--group-by", "site") == 2
    assert "the site of 1 of 12 cases is unknown (first sub-0_ses-1); give it in participants.tsv" in refusal(capsys)
    assert not run.folds_csv.exists()


def test_a_person_at_two_sites_cannot_be_kept_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cases = [make_case(f"c{number}", number, subject="p", site=f"R{number}") for number in range(2)]
    assert fold(prepared(RunFolder(tmp_path / "run"), cases), "--number", "2", "--group-by", "site") == 2
    assert "subject p is in two folds" in refusal(capsys)


def test_given_folds_are_taken(run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {case.case_id: int(case.subject[1:]) % 2 for case in LABELLED}
    write_folds(tmp_path / "given.csv", given)
    assert fold(run, "--folds", str(tmp_path / "given.csv")) == 0
    assert read_folds(run.folds_csv, LABELLED) == given
    assert "12 labelled cases in 2 folds (given) of 6 to 6 cases" in capsys.readouterr().out
    assert read_csv(run.balance_csv)[0]["split_kind"] == "given"


def test_the_authors_form_is_taken(run: RunFolder, tmp_path: Path) -> None:
    lines = [f"{case.case_id}_space-MNI152NLin2009aSym_T1w,{int(case.subject[1:]) // 3}" for case in LABELLED]
    (tmp_path / "given.csv").write_text("\n".join(["Name,Fold", *lines]))
    assert fold(run, "--folds", str(tmp_path / "given.csv")) == 0
    assert read_folds(run.folds_csv, LABELLED)["sub-5_ses-2"] == 1


def test_given_folds_that_split_a_person_or_site_are_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folds(tmp_path / "given.csv", {case.case_id: number % 2 for number, case in enumerate(LABELLED)})
    assert fold(run, "--folds", str(tmp_path / "given.csv")) == 2
    assert "subject p0 is in two folds (sub-0_ses-1 in 0, sub-0_ses-2 in 1)" in refusal(capsys)
    write_folds(tmp_path / "given.csv", {case.case_id: int(case.subject[1:]) // 3 for case in LABELLED})
    assert fold(run, "--folds", str(tmp_path / "given.csv"), "--group-by", "site") == 2
    assert "site R001 is in two folds (sub-1_ses-1 in 0, sub-3_ses-1 in 1)" in refusal(capsys)
    assert not run.folds_csv.exists()


def test_an_unknown_case_in_given_folds_is_refused(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_folds(tmp_path / "given.csv", {case.case_id: 0 for case in LABELLED} | {"sub-z": 1})
    assert fold(run, "--folds", str(tmp_path / "given.csv")) == 2
    assert refusal(capsys).endswith("given.csv: sub-z: unknown case id; remove it, or prepare its data set")
    assert not run.folds_csv.exists()


def test_fewer_cases_than_folds_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = prepared(RunFolder(tmp_path / "run"), CASES[:4])
    assert fold(run) == 2
    assert "fewer cases than folds: 4 labelled cases for 5 folds; ask for fewer folds" in refusal(capsys)
    assert not run.folds_csv.parent.exists()


def test_folds_need_prepared_cases(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fold(RunFolder(tmp_path)) == 2
    assert "is not a run folder" in refusal(capsys)
    claim_folder(tmp_path / "run", {"kind": "experiment"})
    assert fold(RunFolder(tmp_path / "run")) == 2
    assert f"run `mapping prepare DATA -o {tmp_path / 'run'}` first" in refusal(capsys)


def test_folds_do_not_change_under_trained_networks(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert fold(run, "--number", "2") == 0
    before = run.folds_csv.read_text()
    run.member("default", 0).mkdir(parents=True)
    assert fold(run, "--number", "2") == 0
    capsys.readouterr()
    assert fold(run, "--number", "3") == 2
    assert "networks were trained with other folds" in refusal(capsys)
    assert run.folds_csv.read_text() == before


def test_folds_do_not_change_under_networks_of_other_cases(run: RunFolder) -> None:
    assert fold(run, "--number", "2") == 0
    run.member("default", 0).mkdir(parents=True)
    write_cases(run.cases_csv, CASES[2:])
    assert fold(run, "--number", "2") == 2
