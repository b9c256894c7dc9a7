"""`mapping models fit`: the new model, the table beside it, and what is kept and refused."""

import json
from pathlib import Path

import pytest

from mapping_stroke.cli import main
from mapping_stroke.images.image import write_image
from mapping_stroke.models import fit as model_fit
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.rules import RULES
from phantoms import AFFINE, phantom, write_phantoms
from small_models import write_seeing_model


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A model that finds every lesion, and specks in healthy scans."""
    write_seeing_model(tmp_path / "m.mapping", description="as it was")
    write_phantoms(tmp_path / "cohort", labelled=4, unlabelled=0)
    for seed in range(2):
        voxels, lesion = phantom(seed)
        voxels[lesion] = 100
        write_image(tmp_path / "healthy" / f"h{seed}_T1w.nii.gz", voxels, AFFINE)
    return tmp_path


def fit(data: Path, *more: object, healthy: bool = True) -> int:
    given = [data / "m.mapping", "--cohort", data / "cohort", "-o", data / "new.mapping", *more]
    given += ["--healthy", data / "healthy"] if healthy else []
    return main(["models", "fit", *map(str, given), "--device", "cpu"])


def test_a_rule_is_fitted_that_leaves_specks_of_healthy_scans_out(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(data) == 0
    old, new = open_bundle(data / "m.mapping"), open_bundle(data / "new.mapping")
    assert new.card.postprocess is not None
    assert new.card.postprocess != old.card.postprocess
    assert new.card.postprocess.load_unit == "mm3"
    assert "fitted on 4 cases and 2 healthy scans of cohort for the mean gain" in new.card.postprocess_origin
    assert (new.card.name, new.card.description) == (old.card.name, "as it was")
    assert [m.weights_sha256 for m in new.card.members] == [m.weights_sha256 for m in old.card.members]
    values = json.loads((data / "new-rules.json").read_text())
    assert values["stored"] is True
    labels = ["none", "paper", "challenge", "mapping, before", "mapping, fitted"]
    assert list(values["scores"]) == labels
    false_mm3 = [values["scores"][label]["false_volume_mm3"]["mean"] for label in labels]
    assert false_mm3[-1] < min(false_mm3[:-1])
    assert values["scores"]["mapping, fitted"]["dice"]["mean"] == pytest.approx(1)
    assert max(values["mean_gain"], key=values["mean_gain"].get) == "mapping, fitted"
    page = (data / "new-rules.md").read_text()
    assert "| mapping, fitted |" in page
    assert "the model brings the fitted rule" in page
    assert sorted(path.name for path in data.glob("new*")) == ["new-rules.json", "new-rules.md", "new.mapping"]
    screen = capsys.readouterr()
    assert screen.out.splitlines()[-1] == f"Model: {data / 'new.mapping'}"
    assert "4 cases: too few to fit a rule on" in screen.err
    assert main(["models", "show", str(data / "new.mapping")]) == 0
    assert "cross-fitted Dice 1.000" in capsys.readouterr().out


def test_where_nothing_can_be_won_the_model_keeps_its_rule(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit(data, healthy=False) == 0
    new = open_bundle(data / "new.mapping")
    assert (new.card.postprocess, new.card.postprocess_origin) == (RULES["mapping"], "")
    assert new.sha256 == open_bundle(data / "m.mapping").sha256
    assert "no better than the present one, which the model keeps" in capsys.readouterr().err
    assert "Without lesion (mL)" not in (data / "new-rules.md").read_text()


def test_the_model_is_written_before_its_table_is_shown(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_fit, "rule_text", lambda _: str(open_bundle(data / "new.mapping").path))
    assert fit(data, healthy=False) == 0


def test_maps_are_kept_for_another_fit(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit(data, "--keep-maps") == 0
    maps = data / "new-maps"
    assert len(list(maps.glob("*.npz"))) == 6
    (maps / "notes.txt").write_text("mine")
    monkeypatch.setattr(model_fit, "read_evaluation_case", None)
    assert fit(data, "--overwrite") == 0
    assert [path.name for path in maps.iterdir()] == ["notes.txt"]


def test_maps_of_another_format_are_not_taken(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    maps = data / "new-maps"
    monkeypatch.setattr(model_fit, "MAPS_FORMAT", 1)
    assert fit(data, "--keep-maps", healthy=False) == 0
    old = {path.name for path in maps.glob("*.npz")}
    monkeypatch.undo()
    assert fit(data, "--keep-maps", "--overwrite", healthy=False) == 0
    assert len({path.name for path in maps.glob("*.npz")} - old) == len(old) == 4


def test_a_broken_scan_is_left_out(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "cohort" / "p1_T1w.nii.gz").write_bytes(b"broken")
    assert fit(data) == 3
    assert "p1_T1w.nii.gz: cannot be read" in capsys.readouterr().err
    assert "fitted on 3 cases" in open_bundle(data / "new.mapping").card.postprocess_origin


def test_too_few_people_and_a_taken_place_are_refused(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "new.mapping").write_text("mine")
    assert fit(data) == 2
    assert "new.mapping: exists already" in capsys.readouterr().err
    (data / "new.mapping").unlink()
    for path in (data / "cohort").glob("p[1-9]*"):
        path.unlink()
    assert fit(data) == 2
    assert "1 case can be used, expected cases of at least 2 people" in capsys.readouterr().err
