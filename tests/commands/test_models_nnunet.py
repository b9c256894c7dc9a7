"""Models of nnU-Net in every form that people have them in: imported, or refused with the command that imports them."""

import re
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.images.image import write_image
from mapping_stroke.networks.bundle import open_bundle
from phantoms import AFFINE, phantom

GOLDEN = Path(__file__).parents[1] / "interop" / "golden" / "models.zip"
FINAL, BEST = "checkpoint_final.pth", "checkpoint_best.pth"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What nnU-Net v2 and v1 left: one model for each data set."""
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(tmp_path / "nnUNet results")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "nnUNet results"


@pytest.fixture
def folder(results: Path) -> Path:
    return results / "Dataset100_plain" / "nnUNetTrainer__nnUNetPlans__3d_fullres"


def rename_best(folder: Path) -> None:
    for final, best in ((FINAL, BEST), ("model_final_checkpoint.model", "model_best.model")):
        if (folder / "fold_0" / final).exists():
            (folder / "fold_0" / final).rename(folder / "fold_0" / best)


def export(path: Path, folder: Path, within: Path) -> Path:
    """As `nnUNetv2_export_model_to_zip` does: names from the results' folder on, compressed."""
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(within).as_posix())
    return path


def members(path: Path) -> list[str]:
    return [member.card.name for member in open_bundle(path).card.members]


def run(*arguments: object) -> int:
    return main(list(map(str, arguments)))


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert run(*arguments) == 2
    told = capsys.readouterr().err
    assert (told.startswith("mapping: "), told.count("\n")) == (True, 1)
    return told


FORMS: dict[str, Callable[[Path], Path]] = {
    "result folder": lambda folder: folder,
    "data set": lambda folder: folder.parent,
    "fold": lambda folder: folder / "fold_0",
    "checkpoint": lambda folder: sorted((folder / "fold_0").iterdir())[0],
    "plans": lambda folder: folder / "plans.json",
    "zip": lambda folder: export(folder.parents[1] / "my model.zip", folder, folder.parents[1]),
}


@pytest.mark.parametrize("only_best", [False, True])
@pytest.mark.parametrize("form", [form for form in FORMS if form != "plans"])
@pytest.mark.parametrize("task", ["Dataset100_plain", "Task100_plain"])
def test_given_as_a_model_it_is_refused_with_the_command_that_makes_one(
    results: Path, task: str, form: str, only_best: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder,) = (results / task).iterdir()
    if only_best:
        rename_best(folder)
    scan = results / "scan.nii.gz"
    write_image(scan, phantom(0)[0], AFFINE)
    told = refusal(capsys, "segment", scan, "-o", results / "out", "--model", FORMS[form](folder))
    command = re.search(r"is a model of nnU-Net; run `(mapping .*)` once, and give (\S.*) as the model", told)
    assert command, told
    words = shlex.split(command[1])
    assert ("--checkpoint best" in command[1]) == only_best
    assert main(words[1:]) == 0
    assert members(Path(command[2])) == ["default, fold 0"]


def test_an_imported_zip_segments(results: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scan = results / "scan.nii.gz"
    write_image(scan, np.kron(phantom(0)[0], np.ones((2, 2, 2), np.float32)), AFFINE)
    assert run("models", "import", FORMS["zip"](folder), "-o", "from zip.mapping") == 0
    assert run("models", "import", folder, "-o", "from folder.mapping") == 0
    assert open_bundle("from zip.mapping").sha256 == open_bundle("from folder.mapping").sha256
    assert "Dataset100_plain" in open_bundle("from zip.mapping").card.description
    assert run("segment", scan, "-o", "out", "--model", "from zip.mapping", "--device", "cpu", "--preset", "fast") == 0
    assert not list(Path().glob(".*"))


def test_a_data_set_s_folder_and_a_zip_without_folders_are_imported(results: Path, folder: Path) -> None:
    assert run("models", "import", folder.parent, "-o", "a.mapping") == 0
    zipped = export(results / f"{folder.name}.zip", folder, folder)
    assert run("models", "import", zipped, "-o", "b.mapping") == 0
    assert open_bundle("a.mapping").sha256 == open_bundle("b.mapping").sha256


def test_of_several_configurations_the_one_of_full_resolution_is_taken(results: Path, folder: Path) -> None:
    for other in ("2d", "3d_lowres", "3d_cascade_fullres"):
        shutil.copytree(folder, folder.with_name(f"nnUNetTrainer__nnUNetPlans__{other}"))
    assert run("models", "import", folder.parent, "-o", "a.mapping") == 0
    assert run("models", "import", export(results / "all.zip", folder.parent, results), "-o", "b.mapping") == 0
    for path in ("a.mapping", "b.mapping"):
        (member,) = open_bundle(path).card.members
        assert member.card.training["configuration"] == "3d_fullres"


def test_of_several_that_could_be_meant_none_is_taken(
    results: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = folder.with_name("nnUNetTrainer_100epochs__nnUNetPlans__3d_fullres")
    shutil.copytree(folder, other)
    for command in (("models", "import", folder.parent, "-o", "a.mapping"), ("models", "show", folder.parent)):
        told = refusal(capsys, *command)
        assert "holds several models of nnU-Net; run `mapping models import` on those you want: " in told
        assert str(folder) in told
        assert str(other) in told
    zipped = export(results / "both.zip", folder.parent, results)
    for command in (("models", "import", zipped, "-o", "a.mapping"), ("models", "show", zipped)):
        assert "both.zip: holds several models of nnU-Net; unzip it" in refusal(capsys, *command)


@pytest.mark.parametrize("form", ["fold", "checkpoint", "plans"])
def test_a_part_of_a_result_folder_is_not_imported_but_the_whole_named(
    folder: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, "models", "import", FORMS[form](folder), "-o", "a.mapping")
    assert f"run `mapping models import '{folder}' -o Dataset100_plain.mapping`" in told


def test_a_checkpoint_without_its_folder_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lone = tmp_path / "elsewhere" / "a" / "b" / FINAL
    lone.parent.mkdir(parents=True)
    shutil.copy(folder / "fold_0" / FINAL, lone)
    for command in (("models", "import", lone, "-o", "a.mapping"), ("models", "show", lone)):
        assert "looks like one file of a model of nnU-Net, expected the entire model" in refusal(capsys, *command)


def test_a_missing_checkpoint_is_refused_with_the_kind_that_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rename_best(folder)
    told = refusal(capsys, "models", "import", folder, "-o", "a.mapping")
    assert f"has no fold_*/{FINAL}, expected at least one; it has {BEST}: give --checkpoint best" in told


def test_a_fold_without_the_checkpoint_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "fold_0", folder / "fold_1")
    rename_best(folder)
    assert run("models", "import", folder, "-o", "a.mapping") == 0
    told = " ".join(capsys.readouterr().err.split())
    assert "fold_0 has no checkpoint 'final' and is left out" in told
    assert "fold_1" not in told
    assert members(Path("a.mapping")) == ["default, fold 1"]


def test_what_is_wrong_in_a_zip_names_the_zip(results: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "dataset.json").write_text("[]")
    zipped = FORMS["zip"](folder)
    told = refusal(capsys, "models", "import", zipped, "-o", "a.mapping")
    assert f"{zipped}: Dataset100_plain/{folder.name}/dataset.json: holds a list" in told
    (folder / "dataset.json").write_text("{")
    zipped.unlink()
    told = refusal(capsys, "models", "import", FORMS["zip"](folder), "-o", "a.mapping")
    assert f"{zipped}: Dataset100_plain/{folder.name}/dataset.json: is damaged" in told
    spoilt = bytearray(zipped.read_bytes())
    place = spoilt.index(b"checkpoint_final.pth") + 40
    spoilt[place : place + 200] = bytes(200)
    zipped.write_bytes(spoilt)
    assert "my model.zip: cannot be unpacked" in refusal(capsys, "models", "import", zipped, "-o", "a.mapping")
    assert not list(Path().glob(".*"))


def test_a_zip_cannot_write_elsewhere(results: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = results / "bad.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("plans.json", "dataset.json"):
            archive.write(folder / name, f"../../out/{folder.name}/{name}")
    assert "would lie outside" in refusal(capsys, "models", "import", path, "-o", "a.mapping")
