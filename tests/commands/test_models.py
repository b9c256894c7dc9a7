"""`mapping models`, from the command line to the files and lines that come out."""

import json
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from mapping_stroke.cli import main
from mapping_stroke.evaluation.rule_fit import start_rule
from mapping_stroke.files import sha256
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.segmentation import make_ensemble
from mapping_stroke.networks import bundle as bundles
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.rules import RULES
from small_models import (
    PLAIN,
    change_json,
    member_card,
    random_weights,
    weights_of,
    write_model,
    write_trained_run,
)

GOLDEN = Path(__file__).parents[1] / "interop" / "golden" / "models.zip"
WEIGHTS = "weights/default_fold_0.safetensors"


@pytest.fixture(autouse=True)
def nothing_bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "BUNDLED", tmp_path / "of the installation")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    cards = [member_card(scheme, fold) for scheme in ("default", "residual") for fold in (0, 1)]
    return write_trained_run(tmp_path / "run", *cards)


@pytest.fixture
def nnunet(tmp_path: Path) -> Path:
    """Result folders that nnU-Net wrote."""
    with zipfile.ZipFile(GOLDEN) as archive:
        archive.extractall(tmp_path / "nnunet")
    return tmp_path / "nnunet"


def result_folder(nnunet: Path, task: str) -> str:
    (found,) = (nnunet / task).iterdir()
    return str(found)


def models(*arguments: object) -> int:
    return main(["models", *map(str, arguments)])


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of a command that is refused with status 2."""
    capsys.readouterr()
    assert models(*arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("mapping: ")
    assert told.count("\n") == 1
    return told


# list


def test_models_are_listed_one_line_each(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "b.mapping", name="two words")
    write_model(tmp_path / "c", licence="")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert models("list") == 0
    assert lines(capsys) == [
        "two words: 2 members (default, residual), 0.0 MB, licence CC0-1.0, b.mapping",
        "small: 2 members (default, residual), 0.0 MB, licence not stated, c",
        "run: 4 members (default, residual), 0.0 MB, licence not stated, run",
    ]
    assert models("list", "c", "b.mapping", "c") == 0
    assert [line.rpartition(", ")[2] for line in lines(capsys)] == ["c", "b.mapping"]


def test_models_of_the_installation_are_listed_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "BUNDLED", tmp_path / "own")
    write_model(tmp_path / "own" / "default.mapping", name="default")
    write_model(tmp_path / "a.mapping", name="mine")
    assert models("list", tmp_path) == 0
    assert [line.partition(":")[0] for line in lines(capsys)] == ["default", "mine"]
    assert models("show", "default") == 0


def test_where_there_is_no_model_the_list_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("list", tmp_path) == 0
    assert lines(capsys) == [f"No model in {tmp_path}, and none came with this installation"]


def test_a_broken_model_is_told_and_the_others_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mapping").write_text("no zip")
    write_model(tmp_path / "b.mapping")
    assert models("list", tmp_path) == 0
    captured = capsys.readouterr()
    assert "a.mapping: is not a model archive" in captured.err
    assert len(captured.out.splitlines()) == 1


def test_a_place_without_models_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such folder" in refusal(capsys, "list", tmp_path / "nowhere")
    (tmp_path / "notes.txt").touch()
    assert "is not a model, expected a .mapping file" in refusal(capsys, "list", tmp_path / "notes.txt")


# show


def test_a_card_is_shown_in_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_model(tmp_path / "a.mapping", training_data="12 scans", description="one\ntwo", contrast="T1w")
    assert models("show", bundle.path) == 0
    shown = lines(capsys)
    assert shown[:-3] == [
        "Model: small",
        f"Path: {bundle.path}",
        "Size: 0.0 MB",
        f"SHA-256: {bundle.sha256}",
        "Average: the mean of P(lesion)",
        "Fast: overlapping tiles",
        "Mirroring: with the preset paper",
        "Post-processing: grow; core 0.7 and edge 0.5 below 3000 mm3, core 0.55 and edge 0.5 from there on; "
        "many_lesions 4, wide_edge 0.3, below_peak 0.1, least_peak 0.5, smallest_mm3 0",
        "Description: one two",
        "Contrast: T1w",
        "Space: unknown",
        "Shows: unknown",
        "Training data: 12 scans",
        "Licence: CC0-1.0",
        "Citation: Doe 2020",
        "Model card: none",
        "2 members:",
    ]
    table = [re.split(r"  +", line.strip()) for line in shown[-3:]]
    assert table[0] == ["scheme", "fold", "network", "voxels (mm)", "patch", "GFLOP per patch", "validation Dice"]
    plain = ["plain, 2 stages, 0.00017 M parameters", "2", "8 x 8 x 8", "9.29e-05", "0.625"]
    assert table[1] == ["default", "0", *plain]
    assert table[2][:3] == ["residual", "1", "residual, 2 stages, 0.00034 M parameters"]


def test_levels_of_every_load_are_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = write_model(tmp_path / "a.mapping", postprocess=start_rule(RULES["mapping"]))
    assert models("show", bundle.path) == 0
    (line,) = [line for line in lines(capsys) if line.startswith("Post-processing")]
    assert line.startswith("Post-processing: grow; core 0.7 and edge 0.5; many_lesions 1000, wide_edge 0.3")


def test_what_a_run_does_not_tell_is_not_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_trained_run(tmp_path / "run", member_card(training={}))
    assert models("show", run) == 0
    shown = lines(capsys)
    assert {"Post-processing: none of its own", "Licence: not stated", "1 member:"} <= set(shown)
    assert shown[-1].endswith("not stated")


def test_a_model_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere: no such model" in refusal(capsys, "show", tmp_path / "nowhere")


# verify


def test_a_sound_model_is_verified(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("verify", run_folder) == 0
    assert lines(capsys) == [f"{run_folder}: sound, 4 members, SHA-256 {open_bundle(run_folder).sha256}"]


def test_every_problem_is_listed_and_the_first_is_the_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "a", *(member_card(fold=fold) for fold in range(4))).path
    (folder / "weights/default_fold_0.safetensors").unlink()
    (folder / "weights/default_fold_1.safetensors").write_bytes(b"changed")
    weights = random_weights(PLAIN)
    weights["decoder.seg_layers.0.bias"] = np.zeros(3, np.float32)
    weights["decoder.seg_layers.0.weight"][:] = np.nan
    weights["surplus"] = np.float16([1])
    broken = folder / "weights/default_fold_2.safetensors"
    broken.write_bytes(safetensors.numpy.save(weights))
    change_json(folder / "bundle.json", lambda card: card["members"][2].update(weights_sha256=sha256(broken)))
    assert models("verify", folder) == 2
    captured = capsys.readouterr()
    told = captured.out.splitlines()
    for line, problem in zip(
        told,
        (
            "default_fold_0.safetensors: missing",
            "default_fold_1.safetensors: its SHA-256 differs from the card's",
            "default_fold_2.safetensors: surplus parameter 'surplus'",
            "default_fold_2.safetensors: parameter decoder.seg_layers.0.bias has shape (3,), expected (2,)",
            "default_fold_2.safetensors: parameter 'decoder.seg_layers.0.weight' holds NaN or infinity",
        ),
        strict=True,
    ):
        assert problem in line
    assert captured.err == f"mapping: {told[0]} (and 4 more)\n"


def test_bytes_that_are_no_safetensors_are_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path / "a", member_card()).path
    (folder / WEIGHTS).write_bytes(b"changed")
    digest = sha256(folder / WEIGHTS)
    change_json(folder / "bundle.json", lambda card: card["members"][0].update(weights_sha256=digest))
    assert "cannot be read" in refusal(capsys, "verify", folder)


# pack


@pytest.mark.parametrize("target", ["x.mapping", "x"])
def test_a_run_is_packed_and_named(
    target: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["pack", run_folder, "-o", tmp_path / target, "--name", "my model", "--rule", "paper"]
    arguments += ["--licence", "CC-BY-4.0", "--citation", "Doe 2020", "--training-data", "4 scans"]
    assert models(*arguments, "--description", "for a test") == 0
    assert lines(capsys)[-1] == f"Model: {tmp_path / target}"
    card = open_bundle(tmp_path / target).card
    assert (card.name, card.licence, card.citation) == ("my model", "CC-BY-4.0", "Doe 2020")
    assert (card.training_data, card.description, card.postprocess) == ("4 scans", "for a test", RULES["paper"])
    assert len(card.members) == 4
    assert models("verify", tmp_path / target) == 0


def test_a_run_packed_twice_gives_the_same_bytes(run_folder: Path, tmp_path: Path) -> None:
    assert models("pack", run_folder, "-o", tmp_path / "a.mapping") == 0
    assert models("pack", run_folder, "-o", tmp_path / "b.mapping") == 0
    assert (tmp_path / "a.mapping").read_bytes() == (tmp_path / "b.mapping").read_bytes()


def test_packing_a_model_again_keeps_what_it_says(run_folder: Path, tmp_path: Path) -> None:
    assert models("pack", run_folder, "-o", tmp_path / "a.mapping", "--rule", "mapping", "--licence", "CC0") == 0
    assert models("pack", tmp_path / "a.mapping", "-o", tmp_path / "b") == 0
    assert models("pack", tmp_path / "b", "-o", tmp_path / "c.mapping") == 0
    assert (tmp_path / "a.mapping").read_bytes() == (tmp_path / "c.mapping").read_bytes()


def test_members_beside_those_of_another_model_keep_weights_terms_and_get_folds_of_their_own(
    run_folder: Path, tmp_path: Path
) -> None:
    former, both = tmp_path / "former.mapping", tmp_path / "both.mapping"
    assert models("pack", run_folder, "-o", former, "--name", "the former", "--licence", "CC-BY-NC-4.0") == 0
    arguments = ["pack", run_folder, "-o", both, "--beside", former, "--folds", "1", "--half"]
    assert models(*arguments, "--name", "both", "--licence", "CC0") == 0
    assert models("verify", both) == 0
    one, two = open_bundle(former), open_bundle(both)
    old, new = two.card.members[: len(one.card.members)], two.card.members[len(one.card.members) :]
    assert [member.card for member in old] == [member.card for member in one.card.members]
    chosen = [member for member in one.card.members if member.card.fold == 1]
    assert [(m.card.scheme, m.card.fold) for m in new] == [(m.card.scheme, 2) for m in chosen]
    for member, source in zip([*old, *new], [*one.card.members, *chosen], strict=True):
        weights = one.read_weights(source)
        for name, stored in two.read_weights(member).items():
            np.testing.assert_array_equal(stored, weights[name].astype(np.float16))
    assert two.card.licence == "CC0; CC-BY-NC-4.0 (of the former, whose members it holds)"


def test_members_of_a_spread_model_have_grids_of_their_own(run_folder: Path, tmp_path: Path) -> None:
    assert models("pack", run_folder, "-o", tmp_path / "a.mapping", "--spread") == 0
    assert models("pack", tmp_path / "a.mapping", "-o", tmp_path / "b.mapping") == 0
    shifts = [member.card.preprocess.shift for member in open_bundle(tmp_path / "b.mapping").card.members]
    assert shifts[0] == (0, 0, 0)
    assert len(set(shifts)) == len(shifts) == 4


def test_some_schemes_and_folds_make_a_compact_model(run_folder: Path, tmp_path: Path) -> None:
    assert models("pack", run_folder, "-o", tmp_path / "a.mapping", "--schemes", "residual", "--folds", "1") == 0
    bundle = open_bundle(tmp_path / "a.mapping")
    assert [member.card.name for member in bundle.card.members] == ["residual, fold 1"]
    found, expected = bundle.read_weights(bundle.card.members[0]), weights_of(bundle.card.members[0])
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_one_member_is_put_first_with_its_weights_and_the_others_stay_in_order(
    run_folder: Path, tmp_path: Path
) -> None:
    """`fast` computes the first member."""
    assert models("pack", run_folder, "-o", tmp_path / "a.mapping", "--first", "residual, fold 0") == 0
    before, bundle = open_bundle(run_folder), open_bundle(tmp_path / "a.mapping")
    names = [member.card.name for member in before.card.members]
    assert names == ["default, fold 0", "default, fold 1", "residual, fold 0", "residual, fold 1"]
    assert [member.card.name for member in bundle.card.members] == [names[2], names[0], names[1], names[3]]
    found, expected = bundle.read_weights(bundle.card.members[0]), weights_of(before.card.members[2])
    assert all(np.array_equal(found[name], expected[name]) for name in expected)
    fast = make_ensemble(bundle, "fast", choose_engine("cpu"))
    assert [member.card.name for member in fast.members] == ["residual, fold 0"]


def test_members_that_are_not_there_are_refused(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = ["pack", run_folder, "-o", tmp_path / "a.mapping"]
    assert "has no scheme other; expected some of default, residual" in refusal(capsys, *pack, "--schemes", "other")
    assert "has no fold 7; expected some of 0, 1" in refusal(capsys, *pack, "--folds", "7")
    refused = refusal(capsys, *pack, "--folds", "1", "--first", "residual, fold 0")
    assert "has no member 'residual, fold 0'; expected one of 'default, fold 1', 'residual, fold 1'" in refused
    shutil.rmtree(run_folder / "train" / "residual" / "fold_1")
    both = ("--schemes", "residual", "--folds", "1")
    assert "has no member of these schemes and folds" in refusal(capsys, *pack, *both)
    assert not (tmp_path / "a.mapping").exists()


def test_a_broken_member_leaves_no_model(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run_folder / "train/residual/fold_1/weights.safetensors").write_bytes(b"broken")
    before = sorted(tmp_path.iterdir())
    assert "its SHA-256 differs" in refusal(capsys, "pack", run_folder, "-o", tmp_path / "a.mapping")
    assert sorted(tmp_path.iterdir()) == before


def test_a_model_is_replaced_only_with_overwrite(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = ["pack", run_folder, "-o", tmp_path / "a.mapping"]
    assert models(*pack) == 0
    assert "exists already" in refusal(capsys, *pack)
    assert models(*pack, "--name", "new", "--overwrite") == 0
    assert open_bundle(tmp_path / "a.mapping").card.name == "new"


# import and export


def test_folders_of_nnunet_become_one_model(nnunet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ("Task100_plain", "Task101_thick", "Task102_residual")
    folders = [result_folder(nnunet, task) for task in tasks]
    assert models("import", *folders, "-o", tmp_path / "a.mapping", "--licence", "CC0", "--rule", "challenge") == 0
    assert lines(capsys)[-1] == f"Model: {tmp_path / 'a.mapping'}"
    card = open_bundle(tmp_path / "a.mapping").card
    assert (card.name, card.average, card.licence) == ("a", "probability", "CC0")
    assert card.postprocess == RULES["challenge"]
    assert [member.card.name for member in card.members] == [
        "default, fold 0",
        "dice-topk10, fold 0",
        "residual, fold 0",
    ]
    assert "nnU-Net v1" in card.description
    assert models("verify", tmp_path / "a.mapping") == 0


def test_folders_with_members_of_one_name_need_names(
    nnunet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(nnunet / "Task100_plain", nnunet / "again")
    both = [result_folder(nnunet, "Task100_plain"), result_folder(nnunet, "again")]
    told = refusal(capsys, "import", *both, "-o", tmp_path / "a.mapping")
    assert f"{both[1]}: has a member default, fold 0, and so has {both[0]}; give --scheme one name per" in told
    told = refusal(capsys, "import", *both, "-o", tmp_path / "a.mapping", "--scheme", "one")
    assert "got 2 folders and 1 names; give --scheme one name per folder" in told
    assert models("import", *both, "-o", tmp_path / "a.mapping", "--scheme", "one", "two") == 0
    members = open_bundle(tmp_path / "a.mapping").card.members
    assert [member.card.scheme for member in members] == ["one", "two"]


def test_folders_that_are_averaged_in_two_ways_are_refused(
    nnunet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = [result_folder(nnunet, task) for task in ("Task100_plain", "Dataset101_residual")]
    told = refusal(capsys, "import", *both, "-o", tmp_path / "a.mapping")
    assert "its members are averaged by logit, those of" in told
    assert "import them into two models" in told


def test_an_imported_model_goes_back_to_nnunet(
    nnunet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = result_folder(nnunet, "Dataset100_plain")
    assert models("import", source, "-o", tmp_path / "a.mapping", "--name", "back") == 0
    assert models("export", tmp_path / "a.mapping", "--to", "nnunetv2", "-o", tmp_path / "results") == 0
    written = Path(lines(capsys)[-1].removeprefix("Folder of nnU-Net: "))
    assert written.is_relative_to(tmp_path / "results" / "Dataset900_back")
    assert (written / "fold_0" / "checkpoint_final.pth").is_file()
    assert json.loads((written / "plans.json").read_text())["plans_name"] == written.name.split("__")[1]
    assert models("import", written, "-o", tmp_path / "b.mapping") == 0
    there, back = open_bundle(tmp_path / "a.mapping"), open_bundle(tmp_path / "b.mapping")
    assert there.card.members[0].weights_sha256 == back.card.members[0].weights_sha256
    assert "exists already" in refusal(
        capsys, "export", tmp_path / "a.mapping", "--to", "nnunetv2", "-o", tmp_path / "results"
    )


def test_every_member_is_exported_with_its_own_weights_in_whatever_order_they_are(tmp_path: Path) -> None:
    cards = [member_card(scheme, fold) for fold in (0, 1) for scheme in ("default", "residual")]
    bundle = write_model(tmp_path / "a.mapping", *cards)
    assert models("export", bundle.path, "-o", tmp_path / "results") == 0
    for member in bundle.card.members:
        (path,) = (tmp_path / "results").rglob(
            f"*Mapping{member.card.scheme.title()}Plans*/fold_{member.card.fold}/checkpoint_final.pth"
        )
        stored = torch.load(path, weights_only=True)["network_weights"]
        for name, value in bundle.read_weights(member).items():
            turned = value.transpose(0, 1, 4, 3, 2) if value.ndim == 5 else value
            assert np.array_equal(stored[name].numpy(), turned)


def test_what_export_changes_is_told(run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models("export", run_folder, "-o", tmp_path / "results") == 0
    told = lines(capsys)
    assert any(line.startswith("Note: Overlapping tiles and folds are averaged as logits") for line in told)
    assert [line.partition(":")[0] for line in told[-2:]] == ["Folder of nnU-Net"] * 2


def test_a_folder_that_is_no_nnunet_s_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = refusal(capsys, "import", tmp_path, "-o", tmp_path / "a.mapping")
    assert "has neither plans.json nor plans.pkl" in told
    assert not (tmp_path / "a.mapping").exists()
