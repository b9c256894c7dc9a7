"""`mapping demo` from the command line to the files, on coarse scans and with networks that never learned anything."""

import shutil
from pathlib import Path

import pytest
from matplotlib.image import imread

from mapping_stroke import demo
from mapping_stroke import demo as demo_scans
from mapping_stroke.cli import main
from mapping_stroke.dataset.grid import atlas_grid
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import write_image
from mapping_stroke.networks import bundle
from mapping_stroke.rules import RULES
from phantoms import AFFINE, phantom
from small_models import member_card, write_model, write_seeing_model


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_scans, "GRID", atlas_grid(6.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Marks what it is surest of, however unsure it is."""
    path = tmp_path_factory.mktemp("model") / "unlearned.mapping"
    write_model(path, member_card(preprocess=PreprocessSpec(6.0), patch=(32, 32, 32)), postprocess=RULES["challenge"])
    return path


@pytest.fixture(scope="module")
def first(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a demo without scans of one's own leaves."""
    out = tmp_path_factory.mktemp("first") / "my demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_scans, "GRID", atlas_grid(6.0))
        assert show(out, model) == 0
    return out


def show(out: Path, model: Path, *arguments: Path | str) -> int:
    return main(["demo", str(out), "--model", str(model), "--device", "cpu", *map(str, arguments)])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_two_simulated_scans_are_segmented_drawn_and_told(
    first: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show(first, model) == 0
    told = lines(capsys)
    table = told[told.index("Lesions found:") :]
    assert table[1] == "Scan Lesion Volume (mL) Side Centre x, y, z (mm) Mean P"
    assert table[2].startswith("simulated-stroke 1 ")
    assert sum(line.startswith("truth ") and "Dice" in line for line in table) == 1
    assert any(line.startswith("simulated-healthy") for line in table)
    assert any("not patients" in line for line in told)
    assert any("scores on them say little about patients" in line for line in told)
    assert f"Look at the picture: {first / 'demo.png'}" in told
    assert told[-1].endswith(f"segment your-scan.nii.gz -o results --model {model}")
    assert imread(first / "demo.png").shape[1] > 1000
    assert {path.name for path in first.iterdir()} == {"scans", "segment", "demo.png"}


def test_the_next_demo_goes_on_with_scans_of_ones_own(
    first: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(first, out)
    mine = tmp_path / "my scans" / "a person.nii.gz"
    write_image(mine, phantom(0)[0], AFFINE)
    assert show(out, model, "--scan", mine) == 0
    told = lines(capsys)
    assert "2 scans of 3 are already finished" in told
    assert any(line.startswith("a person 1 ") for line in told)
    assert imread(out / "demo.png").shape[0] > imread(first / "demo.png").shape[0]
    assert (out / "segment" / "a person_mask.nii.gz").is_file()


def test_a_scan_that_cannot_be_read_is_told_and_the_others_are_shown(
    first: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, damaged = tmp_path / "out", tmp_path / "damaged.nii.gz"
    shutil.copytree(first, out)
    damaged.write_bytes(b"not an image")
    assert show(out, model, "--scan", damaged) == 3
    told = capsys.readouterr()
    assert f"warning: {damaged}: " in told.err
    assert "simulated-stroke" in told.out
    assert "damaged" not in told.out.partition("Lesions found:")[2]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("nowhere.nii.gz", "nowhere.nii.gz: no such file; check the path"),
        ("notes.txt", "notes.txt: not an image file name; expected one of "),
        ("empty", "empty: holds no image file"),
        ("simulated-stroke.nii.gz", "has the same name"),
    ],
)
def test_what_is_no_scan_is_refused_before_anything_is_made(
    name: str, complaint: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for file in ("notes.txt", "simulated-stroke.nii.gz"):
        (tmp_path / file).write_text("x")
    assert show(tmp_path / "out", model, "--scan", tmp_path / name) == 2
    told = capsys.readouterr().err
    assert complaint in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_installation_without_its_model_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path / "models")
    assert main(["demo", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'models' / 'default.mapping'}: is missing" in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_bundled_model_needs_no_name(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle, "BUNDLED", tmp_path)
    write_seeing_model(tmp_path / "default.mapping", folds=1, name="default")
    shutil.copytree(first / "scans", tmp_path / "out" / "scans")
    assert main(["demo", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert lines(capsys)[-1].endswith("segment your-scan.nii.gz -o results")


def test_many_scans_are_all_told_and_some_are_drawn(
    first: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "SHOWN_SCANS", 1)
    monkeypatch.setattr(demo, "LISTED", 0)
    out = tmp_path / "out"
    shutil.copytree(first, out)
    assert show(out, model) == 0
    told = lines(capsys)
    assert f"Look at the picture: {out / 'demo.png'} (it shows 1 of 2 scans)" in told
    assert any(line.startswith("simulated-stroke") and " more " in line for line in told)
