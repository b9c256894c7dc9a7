"""The report of a run, from its files to the page."""

import csv
import inspect
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from computed_once import REPORT_PICTURES
from mapping_stroke.cli import main
from mapping_stroke.dataset.cases import read_cases, write_cases
from mapping_stroke.errors import RunFolderError, ScoreError
from mapping_stroke.evaluation.tables import SCORE_COLUMNS, CaseScore, score_row
from mapping_stroke.files import read_csv, write_csv, write_json
from mapping_stroke.report.style import method_label
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages import report, report_cases
from mapping_stroke.stages.evaluate import evaluate_run, read_scores
from mapping_stroke.stages.postprocess import postprocess_run
from mapping_stroke.stages.report import report_run, says_simulated
from predicted_runs import write_predicted_run
from small_runs import METHODS, METRICS, write_scores, write_small_run

pytestmark = pytest.mark.usefixtures("coarse_pictures")


@pytest.fixture(scope="module")
def finished(coarse_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with its report; tests only read it."""
    run = write_small_run(tmp_path_factory.mktemp("finished"))
    report_run(run)
    return run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A smaller run without a report, for tests that change it."""
    return write_small_run(tmp_path, ("a", "b"), ("default", "ensemble"))


def page_of(run: RunFolder) -> str:
    return run.report_html.read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    return page.split(f'<section id="{name}">')[1].split("</section>")[0]


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html)).strip()


def first_table(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html.split("</table>")[0], flags=re.DOTALL)
    return [[text_of(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)] for row in rows]


def test_the_files_of_a_report(finished: RunFolder) -> None:
    assert sorted(path.name for path in finished.report_html.parent.iterdir()) == [
        "dice_by_load.png", "index.html", "learning_curves.png", "members.csv", "strata.csv", "table1.csv",
        "table1.md", "table1.tex", "table1.txt", "table1_folds.csv", "tests.csv", "typical.png", "worst.png",
    ]  # fmt: skip


def test_the_numbers_of_table_1_are_those_of_the_scores(finished: RunFolder) -> None:
    with finished.scores_csv.open(newline="") as file:
        scores = list(csv.DictReader(file))
    rows = first_table(section(page_of(finished), "table-1"))
    assert [row[0] for row in rows[1:]] == [method_label(method) for method in METHODS]
    for method, (_, cases, *cells) in zip(METHODS, rows[1:], strict=True):
        assert cases == "6"
        for metric, cell in zip(METRICS, cells, strict=True):
            values = [float(row[metric]) for row in scores if row["method"] == method and row[metric]]
            assert cell.startswith(f"{sum(values) / len(values):.2f} ± ")


def test_the_number_of_undefined_cases_stands_beside_the_mean(finished: RunFolder) -> None:
    rows = first_table(section(page_of(finished), "table-1"))
    assert rows[-1][-1].endswith("(1 undefined)")
    assert rows[1][-1].endswith("(0 undefined)")


def test_the_best_of_each_column_is_marked(finished: RunFolder) -> None:
    html = section(page_of(finished), "table-1").split("</table>")[0]
    with (finished.report_html.parent / "table1.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    for row, method in zip(re.findall(r"<tr>(.*?)</tr>", html, flags=re.DOTALL)[1:], stored, strict=True):
        marks = ["<strong>" in cell for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, flags=re.DOTALL)[1:]]
        assert marks == [method[f"{metric}_best"] == "1" for metric in METRICS]
    for metric in METRICS:  # 95HD of Ensemble + PP, the last, is undefined in a case
        compared = stored[:-1] if metric == "hd95_mm" else stored
        means = [float(row[f"{metric}_mean"]) for row in compared]
        best = max(means) if metric in ("dice", "lesion_f1") else min(means)
        marked = [float(row[f"{metric}_mean"]) for row in stored if row[f"{metric}_best"] == "1"]
        assert marked == pytest.approx([best] * len(marked))
        assert marked


def test_the_papers_numbers_are_named_as_the_papers(finished: RunFolder) -> None:
    text = text_of(section(page_of(finished), "table-1"))
    assert "They are the paper's, not this run's" in text
    assert "Paper: ATLAS R2.0, five-fold cross-validation" in text


def test_the_page_needs_nothing_but_itself(finished: RunFolder, tmp_path: Path) -> None:
    page = page_of(finished)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert all(source.startswith(("data:image/png;base64,", "#")) for source in sources)
    assert str(finished.path) not in page


def test_every_case_is_listed_worst_first(finished: RunFolder) -> None:
    html = section(page_of(finished), "sizes").split("worst first")[1]
    listed = first_table(html)[1:]
    assert sorted(row[0] for row in listed) == ["a", "b", "c", "d", "e", "f"]
    dice = [float(row[3]) for row in listed]
    assert dice == sorted(dice)
    assert listed[0][0] == "a"


def test_what_was_run_is_told(finished: RunFolder) -> None:
    text = text_of(section(page_of(finished), "run"))
    assert "6 labelled (6 people), 1 unlabelled" in text
    assert "24x28x22 at 1 x 1 x 1 mm, RAS" in text
    members = "8 members (Default, DTK10, Res U-Net, Self-Training)"
    assert f"{members}, size tiny, 3 epochs (usual at this size: 16 epochs)" in text
    assert "challenge" in text


def test_simulated_data_are_called_so(run: RunFolder, finished: RunFolder) -> None:
    assert "simulated" not in page_of(finished)
    description = {
        "Name": "Strokes",
        "Simulated": True,
        "SourceDatasets": [{"What": "brains", "Name": "T", "Licence": "L"}],
    }
    write_json(run.path.parent / "data" / "dataset_description.json", description)
    report_run(run)
    text = text_of(section(page_of(run), "run"))
    assert "The data set says that it is simulated" in text
    assert "brains: T (L)" in text


def test_a_data_set_that_does_not_say_is_not_called_simulated() -> None:
    assert [says_simulated(one) for one in ({}, {"Name": "ATLAS"}, {"Name": "Simulated strokes"})] == [
        None,
        False,
        True,
    ]


def test_pseudo_labels_tell_where_they_came_from(run: RunFolder) -> None:
    stored = {"scheme": "residual", "weights_sha256": "ab" * 32, "confidence": {"x": 0.8, "y": 0.6, "z": None}}
    chosen = {"confidence_floor": 0.75, "left_out": ["y", "z"]}
    for fold, pseudo in ((10, stored | chosen), (2, stored)):
        card = {"training": {"pseudo_labels": pseudo}}
        write_json(run.member("self-training", fold) / "member.json", card)
    write_json(run.member("default", 2) / "member.json", {"training": {"pseudo_labels": {}}})
    report_run(run)
    rows = first_table(section(page_of(run), "training"))
    confidence = ["0.70 (0.60 to 0.80)", "ab" * 8]
    assert rows[1:] == [
        ["Self-Training", "2", "Res U-Net", "3", "1", "0", "none", *confidence],
        ["Self-Training", "10", "Res U-Net", "3", "1", "2", "0.75", *confidence],
    ]


def test_schemes_that_the_paper_does_not_have_are_named(tmp_path: Path) -> None:
    report_run(run := write_small_run(tmp_path, ["a", "b"], ["default", "carvemix", "mine", "ensemble"]))
    page = page_of(run)
    told = (
        "6 members (Default, CarveMix, mine), size tiny, 3 epochs (usual at this size: 16 epochs); the ensemble "
        "includes schemes that the paper does not have: CarveMix, mine"
    )
    assert told in text_of(section(page, "run")).replace("&#39;", "'")
    assert [row[0] for row in first_table(section(page, "table-1"))[1:]] == ["Default", "CarveMix", "mine", "Ensemble"]


def facts_of(run: RunFolder) -> dict[str, str]:
    report_run(run)
    rows = re.findall(r"<dt>(.*?)</dt>\s*<dd>(.*?)</dd>", section(page_of(run), "run"), flags=re.DOTALL)
    return {text_of(name): text_of(value) for name, value in rows}


def test_epochs_that_differ_are_told_by_scheme(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("a", "b"), ("default", "residual", "ensemble"))
    for fold, epochs in ((0, 16), (1, 16)):
        write_json(run.member("default", fold) / "member.json", {"training": {"epochs": epochs}})
    write_json(run.member("residual", 1) / "member.json", {"training": {"epochs": 1}})
    assert facts_of(run)["Networks"].endswith(
        "size tiny, epochs: Default 16, Res U-Net 1 to 3 (usual at this size: 16 epochs)"
    )


PROGRAM = {"mapping-stroke": "2.0", "commit": "none", "python": "3.12.1"}
MACHINE = {"system": "Linux", "processor": "Chip", "cores": "8", "memory": "31 GiB"}


def test_all_programs_and_machines_of_a_run_are_listed(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("a", "b"), ("default", "ensemble"))
    members = [run.member("default", fold) for fold in (0, 1)]
    node = {**MACHINE, "processor": "Other", "gpu": "none"}
    for folder, environment in (
        (members[0] / "environments", PROGRAM | MACHINE | {"gpu": "Card"}),
        (members[1] / "environments", PROGRAM | node),
        (run.environments("predict"), PROGRAM | MACHINE | {"gpu": "Card"}),
        (run.environments("evaluate"), PROGRAM | {"mapping-stroke": "2.1"} | MACHINE),
    ):
        write_json(folder / "0.json", environment)
    for member in members:
        write_json(member / "member.json", {"training": {"epochs": 3}})
    facts = facts_of(run)
    assert facts["Program 1 of 2"] == "mapping-stroke 2.0; python 3.12.1 (train, predict)"
    assert facts["Program 2 of 2"] == "mapping-stroke 2.1; python 3.12.1 (evaluate)"
    same = "Chip, 8 cores, 31 GiB memory, GPU: Card (train: 1 of 2 members, predict, evaluate)"
    assert facts["Machine 1 of 2"] == same
    assert facts["Machine 2 of 2"] == "Other, 8 cores, 31 GiB memory, GPU: none (train: 1 of 2 members)"


def test_a_run_of_one_program_names_it_once(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("a", "b"), ("default", "ensemble"))
    write_json(run.environment_json, PROGRAM | MACHINE)
    write_json(run.environments("predict") / "0.json", PROGRAM | MACHINE | {"gpu": "Card"})
    facts = facts_of(run)
    assert facts["Program"] == "mapping-stroke 2.0; python 3.12.1"
    assert facts["Machine"] == "Chip, 8 cores, 31 GiB memory, GPU: Card"


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    name = 'x<script>alert("1")&'
    report_run(run := write_small_run(tmp_path, [name, "b"], ["default", "ensemble"]))
    assert "<script>alert" not in page_of(run)
    assert "x&lt;script&gt;alert(&#34;1&#34;)&amp;" in page_of(run)


def test_what_a_run_lacks_is_left_out_with_a_note(run: RunFolder) -> None:
    shutil.rmtree(run.path / "train")
    run.config_toml.unlink()
    run.environment_json.unlink()
    report_run(run)
    text = text_of(page_of(run))
    for note in (
        "no epochs.csv in this run",
        "No pseudo-labels",
        "No config.toml",
        "No environment.json",
        "no folds/balance.png",
    ):
        assert note in text
    assert "no score for" not in text


def test_pictures_of_earlier_stages_are_shown(run: RunFolder, finished: RunFolder) -> None:
    for name in ("prepare/examples.png", "prepare/load_distribution.png", "folds/balance.png"):
        shutil.copy(finished.report_html.parent / "dice_by_load.png", run.path / name)
    report_run(run)
    assert section(page_of(run), "data").count("<img") == 3


def test_failures_are_listed_and_stop_nothing(run: RunFolder) -> None:
    (run.masks("default") / "a_mask.nii.gz").write_bytes(b"damaged")
    (run.member("default", 0) / "epochs.csv").write_text("epoch\n0\n")
    lines = run.scores_csv.read_text().splitlines()
    run.scores_csv.write_text("\n".join(line for line in lines if not line.startswith("ensemble,b")) + "\n")
    (run.problems_csv).write_text("severity,case_id,file,found,expected,remedy\nwarning,b,f,odd values,0 and 1,look\n")
    report_run(run)
    text = text_of(section(page_of(run), "failures"))
    assert "warning: b: odd values, expected 0 and 1; look (f)" in text
    assert "Ensemble: no score for 1 of 2 cases: b" in text
    assert re.search(r"a: cannot be shown: .*default.*a_mask.nii.gz: cannot be read", text)
    assert "is not a table of epochs" in text


def test_a_case_that_cannot_be_drawn_stops_nothing(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(scan: object) -> None:
        raise ValueError("no head")

    monkeypatch.setattr(report_cases, "deface", fail)
    report_run(run)
    assert "a: cannot be shown: ValueError: no head" in text_of(section(page_of(run), "failures"))


def test_a_method_without_a_mask_of_a_case_has_an_empty_place(run: RunFolder) -> None:
    (run.masks("default") / "a_mask.nii.gz").unlink()
    report_run(run)
    assert "<img" in section(page_of(run), "scans")
    assert "None: no problem" in text_of(section(page_of(run), "failures"))


def test_a_case_whose_scan_has_gone_is_named(run: RunFolder) -> None:
    shutil.rmtree(run.path.parent / "data")
    report_run(run)
    assert "left out, no case could be shown" in text_of(section(page_of(run), "scans"))
    assert "b: cannot be shown: " in text_of(section(page_of(run), "failures"))


def test_a_case_that_lost_its_reference_is_named(run: RunFolder) -> None:
    rows = run.cases_csv.read_text().splitlines()
    lost = [
        ",".join([*row.split(",")[:4], "testing", row.split(",")[5], "", "", "", "", *row.split(",")[10:]])
        for row in rows
    ]
    run.cases_csv.write_text("\n".join([*rows[:2], lost[2], *rows[3:]]) + "\n")
    report_run(run)
    assert "b: cannot be shown: it has scores but its reference mask is gone" in text_of(page_of(run))


def test_a_damaged_description_and_missing_folds_stop_nothing(run: RunFolder) -> None:
    (run.path.parent / "data" / "dataset_description.json").write_text("{")
    run.folds_csv.unlink()
    report_run(run)
    text = text_of(section(page_of(run), "run"))
    assert "not described" in text
    assert "Kolmogorov" not in text


def test_one_fold_is_compared_with_nothing(run: RunFolder) -> None:
    run.folds_csv.write_text("case_id,fold\na,0\nb,0\n")
    report_run(run)
    assert "Folds1 Networks" in text_of(section(page_of(run), "run"))


def test_a_run_without_failures_says_so(finished: RunFolder) -> None:
    assert "None: no problem was found" in text_of(section(page_of(finished), "failures"))


def test_a_run_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"scores\.csv: not there yet; run `mapping evaluate"):
        report_run(RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["method,case_id,fold,load_vox,dice\n", "method,case_id,fold,load_vox,hd95_mm\ndefault,a,0,3,1\n"]
)
def test_scores_that_cannot_be_used_are_refused(text: str, run: RunFolder) -> None:
    run.scores_csv.write_text(text)
    with pytest.raises(ScoreError, match=r"run `mapping evaluate .*` again"):
        report_run(run)
    assert not run.report_html.exists()


def test_the_command_names_the_page_and_shows_the_table(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run.path)]) == 0
    shown = capsys.readouterr().out
    assert f"Report: {run.report_html}" in shown
    assert "Ensemble" in shown


def test_the_command_refuses_a_folder_without_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "mapping evaluate" in capsys.readouterr().err


def test_the_page_has_tests_strata_and_intervals(finished: RunFolder) -> None:
    page = page_of(finished)
    differences = section(page, "differences")
    assert text_of(differences).count("corrected for 15 of 15 pairs of methods.") == len(METRICS)
    assert "The test compares ranks and the interval describes a mean, so the two may disagree" in text_of(differences)
    assert "none for fewer than 5 of them" in text_of(section(page, "table-1"))
    assert "A voxel has" not in page
    assert first_table(differences)[0][:4] == ["Difference", "People", "Better", "Worse"]
    assert first_table(differences)[1][:4] == ["Default \N{MINUS SIGN} DTK10", "6", "0", "6"]
    strata = section(page, "strata")
    assert [row[:2] for row in first_table(strata)[1:]] == [["up to 1 mL", "6"]]
    assert "Hemisphere" not in strata  # unknown in this run
    assert "this run has maps of 0 schemes" in text_of(section(page, "ensemble"))
    assert re.search(r"± \d\.\d\d\[0\.\d\d, ", text_of(section(page, "table-1")))
    assert 'id="table-2"' not in page


def test_the_tables_of_tests_and_folds_hold_every_pair_and_fold(finished: RunFolder) -> None:
    tests = read_csv(finished.report_html.with_name("tests.csv"))
    assert len(tests) == 15 * 5
    assert {row["comparisons"] for row in tests if row["metric"] == "dice"} == {"15"}
    assert all(float(row["p"]) <= float(row["p_holm"]) for row in tests)
    folds = read_csv(finished.report_html.with_name("table1_folds.csv"))
    assert [(row["fold"], row["method"], row["cases"]) for row in folds[:: len(METHODS)]] == [
        ("0", "default", "3"),
        ("1", "default", "3"),
    ]


def test_the_page_counts_the_pairs_of_each_metric_that_could_be_tested(tmp_path: Path) -> None:
    run = write_small_run(tmp_path, ("a", "b"), ("default", "residual", "ensemble"))
    scores = read_scores(run.scores_csv, "")
    scores = [
        replace(one, values={**one.values, "hd95_mm": math.nan}) if one.method == "default" else one for one in scores
    ]
    write_scores(run, scores)
    report_run(run)
    text = text_of(section(page_of(run), "differences"))
    assert "0 of 1 differences below 0.05" in text
    assert "corrected for 3 of 3 pairs of methods." in text
    assert (
        "corrected for 1 of 3 pairs of methods; in every case of the others, the metric is undefined for one method or "
        "both."
    ) in text
    tests = read_csv(run.report_html.with_name("tests.csv"))
    assert {row["comparisons"] for row in tests if row["metric"] == "hd95_mm"} == {"1"}


def test_a_report_on_large_voxels_compares_no_numbers_of_voxels(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    write_cases(run.cases_csv, [replace(case, spacing_mm=(4.0, 4.0, 4.0)) for case in read_cases(run.cases_csv)])
    unlabelled = [CaseScore("default", "u", None, 9, dict.fromkeys(METRICS, 0.5))]
    write_csv(run.test_scores_csv, (*SCORE_COLUMNS, *METRICS), map(score_row, unlabelled))
    assert main(["report", str(run.path)]) == 0
    shown = capsys.readouterr().out
    page = page_of(run)
    for place in (shown, *(text_of(section(page, name)) for name in ("table-1", "table-2"))):
        assert "A voxel has 64 mm3 in this run and 1 mm3 in the paper" in place
    rule = "a load is small below 3000 voxels, which is 192 mL with voxels of 64 mm3, not 3 mL"
    assert rule in shown
    assert f"challenge; {rule}" in text_of(section(page, "run"))
    tables = [read_csv(run.report_html.with_name(f"table{number}.csv"))[0] for number in (1, 2)]
    assert [table["volume_difference_vox_paper_mean"] for table in tables] == ["", ""]


def test_the_same_report_has_the_same_bytes(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in REPORT_PICTURES:  # anew each time, not once as in other tests
        monkeypatch.setattr(report, name, inspect.unwrap(getattr(report, name)))
    report_run(run)
    before = {path.name: path.read_bytes() for path in run.report_html.parent.iterdir()}
    report_run(run)
    assert {path.name: path.read_bytes() for path in run.report_html.parent.iterdir()} == before


def test_table_2_comes_and_goes_with_the_scores_of_test_scans(run: RunFolder) -> None:
    scores = [CaseScore(method, "u", None, 9, dict.fromkeys(METRICS, 0.5)) for method in ("default", "ensemble")]
    write_csv(run.test_scores_csv, (*SCORE_COLUMNS, *METRICS), map(score_row, scores))
    report_run(run)
    rows = first_table(section(page_of(run), "table-2"))
    assert [row[:3] for row in rows[1:]] == [["Default", "1", "0.50 ± n/a"], ["Ensemble", "1", "0.50 ± n/a"]]
    table = run.report_html.with_name("table2.csv")
    assert read_csv(table)[0]["dice_paper_mean"] == "0.661"
    run.test_scores_csv.write_text("method,case_id,fold,load_vox,dice\n")
    with pytest.raises(ScoreError, match=r"holds no score; run `mapping evaluate .* --references FOLDER` again"):
        report_run(run)
    run.test_scores_csv.unlink()
    report_run(run)
    assert 'id="table-2"' not in page_of(run)
    assert not table.exists()


def test_schemes_are_compared_from_their_maps(tmp_path: Path) -> None:
    run = write_predicted_run(tmp_path / "run")
    postprocess_run(run)
    evaluate_run(run)
    report_run(run)
    rows = read_csv(run.report_html.with_name("members.csv"))
    assert [(row["order"], row["schemes"], row["scheme"]) for row in rows[:3]] == [
        ("greedy", "1", "default"),
        ("greedy", "2", "residual"),
        ("random", "1", ""),
    ]
    assert "<img" in section(page_of(run), "ensemble")


def test_table_1_as_csv_holds_plain_numbers(finished: RunFolder) -> None:
    with (finished.report_html.parent / "table1.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["method"] == "default"
    assert 0 < float(row["dice_mean"]) < 1
    assert json.loads(row["hd95_mm_undefined"]) == 0
