"""`mapping compare` and `mapping report --against`: two runs on the same cases, from their files to the pages."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from mapping_stroke.cli import main
from mapping_stroke.files import read_csv, write_csv, write_json, write_text
from mapping_stroke.run_folder import RunFolder, claim_folder
from mapping_stroke.stages.provenance import MANIFEST_COLUMNS
from paired_runs import CASES, CHANGES, METHODS, rescore, write_pair
from small_runs import METRICS

pytestmark = pytest.mark.usefixtures("coarse_pictures")

Pair = tuple[RunFolder, RunFolder]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """Two runs; tests only read them."""
    return write_pair(tmp_path_factory.mktemp("pair"))


@pytest.fixture(scope="module")
def compared(pair: Pair, coarse_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of their comparison; tests only read it."""
    out = tmp_path_factory.mktemp("compared") / "out"
    assert compare(*pair, out) == 0
    return out


def compare(a: RunFolder, b: RunFolder, out: Path, *more: str) -> int:
    return main(["compare", str(a.path), str(b.path), "-o", str(out), *more])


def copies(pair: Pair, folder: Path) -> Pair:
    """Copies of the runs, for tests that change them; their scans are those of the originals."""
    for run in pair:
        shutil.copytree(run.path, folder / run.path.name)
    return RunFolder(folder / pair[0].path.name), RunFolder(folder / pair[1].path.name)


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 2
    return capsys.readouterr().err


def test_the_files_of_a_comparison(compared: Path) -> None:
    assert sorted(path.name for path in compared.iterdir()) == [
        "cases.csv", "changed.png", "compare.csv", "compare.html", "compare.md", "paired.png", "run.json",
    ]  # fmt: skip


def test_the_table_has_a_row_for_each_method_and_metric(compared: Path) -> None:
    rows = read_csv(compared / "compare.csv")
    assert [(row["method"], row["metric"]) for row in rows] == [(m, metric) for m in METHODS for metric in METRICS]
    dice, *_, hd95 = rows[: len(METRICS)]
    assert (dice["cases"], dice["mean_a"], dice["better"], dice["worse"], dice["equal"]) == ("6", "0.5", "3", "2", "1")
    assert float(dice["difference"]) == pytest.approx(sum(CHANGES.values()) / 6)
    assert float(dice["low"]) < float(dice["difference"]) < float(dice["high"])
    assert float(dice["p"]) <= float(dice["p_holm"]) == 1.0
    assert (hd95["cases"], hd95["undefined"], hd95["difference"], hd95["p"]) == ("5", "1", "0.0", "1.0")


def test_cases_are_sorted_by_the_change_of_dice(compared: Path) -> None:
    rows = [row for row in read_csv(compared / "cases.csv") if row["method"] == "ensemble"]
    assert [row["case_id"] for row in rows] == ["f", "e", "d", "b", "c", "a"]
    assert [float(row["dice_change"]) for row in rows] == sorted(CHANGES.values())
    assert (rows[0]["dice_a"], rows[0]["dice_b"], rows[0]["hd95_mm_change"]) == ("0.5", "0.0", "")


def test_the_page_needs_nothing_but_itself_and_shows_the_cases(compared: Path) -> None:
    page = (compared / "compare.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 2
    assert "http" not in page
    text = text_of(page)
    assert "Ensemble: mean Dice 0.500 in A and 0.490 in B over 6 cases, difference -0.010 [" in text
    assert "B is better in 3, worse in 2 and equal in 1 of them" in text
    assert "A run: 6 cases scored, 2 folds, size tiny" in text
    assert "B other: 6 cases scored, 2 folds (each site in one fold), size small, seed 3" in text


def test_what_differs_between_the_settings_is_listed(compared: Path) -> None:
    markdown = (compared / "compare.md").read_text(encoding="utf-8")
    rows = markdown.partition("## Differing settings")[2].strip().splitlines()[2:]
    assert rows == [
        "| config.toml | postprocess.rule | challenge | not given |",
        "| config.toml | train.size | tiny | small |",
        "| config.toml | folds.group_by | not given | site |",
        "| config.toml | folds.seed | not given | 3 |",
        "| config.toml | train.seed | not given | 3 |",
    ]


def test_the_same_runs_give_the_same_bytes(pair: Pair, compared: Path) -> None:
    before = {path.name: path.read_bytes() for path in compared.iterdir()}
    assert compare(*pair, compared) == 0
    assert {path.name: path.read_bytes() for path in compared.iterdir()} == before


def test_cases_of_one_run_only_are_counted(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = copies(pair, tmp_path)
    rescore(a, dict.fromkeys(CASES[:4], 0.5))
    rescore(b, dict.fromkeys(CASES[1:], 0.5))
    assert compare(a, b, tmp_path / "out") == 0
    shown = capsys.readouterr().out
    assert "Compared: 3 cases of 3 people, scored with atlas2022" in shown
    assert "Only in A: 1 case (a)" in shown
    assert "Only in B: 2 cases (e, f)" in shown
    assert not (tmp_path / "out" / "changed.png").exists()
    assert "no case changed" in (tmp_path / "out" / "compare.html").read_text()


def test_other_references_and_scans_are_noted(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = copies(pair, tmp_path)
    for run, digest in ((a, "00"), (b, "11")):
        values = [("a", "scan", "x", 5, digest), ("b", "scan", "x", 5, "same")]
        write_csv(run.data_csv, MANIFEST_COLUMNS, [dict(zip(MANIFEST_COLUMNS, row, strict=True)) for row in values])
    write_text(b.scores_csv, b.scores_csv.read_text().replace("ensemble,c,0,60", "ensemble,c,0,61"))
    assert compare(a, b, tmp_path / "out") == 0
    told = capsys.readouterr().err
    assert "The scans of 1 of 6 cases differ between the runs: a." in told
    assert "The reference masks of 1 of 6 cases differ between the runs: c." in told


def test_a_case_that_cannot_be_read_is_left_out_of_the_pictures(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = copies(pair, tmp_path)
    (b.masks("ensemble") / "f_mask.nii.gz").write_bytes(b"damaged")
    assert compare(a, b, tmp_path / "out") == 0
    assert "warning: f: cannot be shown: " in capsys.readouterr().err
    assert (tmp_path / "out" / "changed.png").is_file()


def test_what_cannot_be_compared_is_refused(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = copies(pair, tmp_path)
    out, empty, other = (tmp_path / name for name in ("out", "empty", "masks"))
    empty.mkdir()
    claim_folder(other, {"kind": "evaluate"})
    command = ("compare", str(a.path), str(b.path), "-o", str(out))
    assert "empty: is not a run folder" in refusal(capsys, "compare", str(empty), str(b.path), "-o", str(out))
    told = refusal(capsys, "compare", str(a.path), str(other), "-o", str(out))
    assert "masks: is no run folder of an experiment (it holds the work of evaluate)" in told
    whole = b.scores_csv.read_text()
    write_text(b.scores_csv, whole.replace("hd95_mm", "pr_auc"))
    told = refusal(capsys, *command)
    assert "different profiles: run with atlas2022 and other with the metrics dice, lesion_f1, pr_auc" in told
    rescore(b, {"z": 0.5})
    assert "no common case: run scored 6 cases (such as a), other 1 (such as z)" in refusal(capsys, *command)
    b.scores_csv.unlink()
    assert "scores.csv: not there yet; run `mapping evaluate" in refusal(capsys, *command)
    assert not out.exists()


def test_another_comparison_in_the_folder_is_kept(
    pair: Pair, compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(compared, out)
    a, b = pair
    assert "holds another run (differs in run_a, run_b)" in refusal(
        capsys, "compare", str(b.path), str(a.path), "-o", str(out)
    )
    assert compare(b, a, out, "--overwrite") == 0
    assert float(read_csv(out / "compare.csv")[0]["difference"]) == pytest.approx(-sum(CHANGES.values()) / 6)


def test_a_report_tells_the_difference_to_another_run(
    pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = copies(pair, tmp_path)
    assert main(["report", str(b.path), "--against", str(a.path)]) == 0
    page = b.report_html.read_text(encoding="utf-8")
    section = text_of(page.split('<section id="against">')[1].split("</section>")[0])
    assert "A is run, B is this run. Ensemble: mean Dice 0.500 in A and 0.490 in B" in section
    assert "B other: 6 cases scored, 2 folds (each site in one fold)" in section
    assert "config.toml train.size tiny small" in section
    assert "A is run, B is this run." in capsys.readouterr().out
    assert main(["report", str(b.path)]) == 0
    assert 'id="against"' not in b.report_html.read_text(encoding="utf-8")


def test_a_report_against_no_run_is_refused(pair: Pair, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not a run folder" in refusal(capsys, "report", str(pair[0].path), "--against", str(tmp_path))
    assert not pair[0].report_html.exists()


def test_a_report_is_rebuilt_from_the_files_of_the_run(pair: Pair, tmp_path: Path) -> None:
    run, _ = copies(pair, tmp_path)
    files = []
    for _ in range(2):
        assert main(["report", str(run.path)]) == 0
        folder = run.report_html.parent
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
        shutil.rmtree(folder)
    assert files[0] == files[1]
    assert {"index.html", "table1.csv", "worst.png"} <= files[0].keys()


def test_a_report_tells_the_record_of_the_run(pair: Pair, tmp_path: Path) -> None:
    _, run = copies(pair, tmp_path)
    machine = {"mapping-stroke": "1.2", "commit": "ab12 (modified)", "python": "3.11.0", "torch": "2.6.0"}
    write_json(run.environment_json, machine | {"processor": "Chip", "cores": "8", "memory": "31.0 GiB", "gpu": "none"})
    with run.data_csv.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([MANIFEST_COLUMNS, ("a", "scan", "x", 1_500_000, "00")])
    assert main(["report", str(run.path)]) == 0
    text = text_of(run.report_html.read_text(encoding="utf-8").split('<section id="run">')[1].split("</section>")[0])
    assert "Program mapping-stroke 1.2, commit ab12 (modified); python 3.11.0, torch 2.6.0" in text
    assert "Machine Chip, 8 cores, 31.0 GiB memory, GPU: none" in text
    assert "Seeds folds 3, train 3" in text
    assert "Data files 1 files, 1.5 MB, SHA-256 of each in data.csv" in text
    assert "each site in one fold" in text
