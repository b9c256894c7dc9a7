"""Members that begin as those of a trained model: which ones, what they keep of them, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping_stroke.cli import main
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError
from mapping_stroke.models.pack import pack_model
from mapping_stroke.models.settings import ModelLabels
from mapping_stroke.networks.bundle import Bundle, open_bundle
from mapping_stroke.networks.spec import Weights
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.settings import TrainConfig
from mapping_stroke.stages.warm_start import EPOCHS, choose_warm_start, fine_tuning_config
from mapping_stroke.training.schemes import SCHEMES, find_scheme
from phantoms import NANO, write_phantoms
from small_models import TRAINING, change_json, member_card, write_model

pytestmark = pytest.mark.usefixtures("nano")

ALL = tuple(scheme.name for scheme in SCHEMES)
TRAIN = ("--device", "cpu", "--epochs", "1")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four labelled scans in two folds, and none without a mask."""
    root = tmp_path_factory.mktemp("fine-tuning")
    assert main(["prepare", str(write_phantoms(root / "data", 4, 0)), "-o", str(root / "run")]) == 0
    assert main(["folds", str(root / "run"), "--number", "2"]) == 0
    return root / "run"


@pytest.fixture(scope="module")
def model(prepared: Path, tmp_path_factory: pytest.TempPathFactory, nano: None) -> Path:
    """A model of all four schemes, trained for one epoch."""
    root = tmp_path_factory.mktemp("model")
    shutil.copytree(prepared, root / "run")
    three = ["--schemes", *ALL[:3], "--folds", "0", "--size", "tiny"]
    assert main(["train", str(root / "run"), *three, *TRAIN]) == 0
    shutil.copytree(root / "run/train/default", root / "run/train/self-training")
    change_json(root / "run/train/self-training/fold_0/member.json", lambda card: card.update(scheme="self-training"))
    return pack_model(root / "run", root / "start.mapping", ModelLabels(name="start", licence="CC-BY-NC-4.0")).path


@pytest.fixture(scope="module")
def tuned(prepared: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """All its members, fine-tuned by the one command."""
    run = tmp_path_factory.mktemp("tuned") / "run"
    shutil.copytree(prepared, run)
    assert main(["train", str(run), "--from", str(model), *TRAIN]) == 0
    return RunFolder(run)


@pytest.fixture
def run(prepared: Path, tmp_path: Path) -> Path:
    """A copy to train in."""
    shutil.copytree(prepared, tmp_path / "run")
    return tmp_path / "run"


def weights_of(model: Path | str, scheme: str, fold: int = 0) -> Weights:
    bundle = open_bundle(model)
    member = next(m for m in bundle.card.members if (m.card.scheme, m.card.fold) == (scheme, fold))
    return bundle.read_weights(member)


def distance(one: Weights, other: Weights) -> float:
    return float(np.sqrt(sum(np.square(one[name] - other[name]).sum() for name in one)))


def training_of(run: Path, scheme: str, fold: int = 0) -> dict[str, Any]:
    card = json.loads((run / "train" / scheme / f"fold_{fold}" / "member.json").read_text())
    return dict(card["training"])


def test_one_command_fine_tunes_all_schemes_without_any_unlabelled_scan(tuned: RunFolder) -> None:
    cards = [member.card for member in open_bundle(tuned.path).card.members]
    assert sorted((card.scheme, card.fold) for card in cards) == sorted((name, fold) for name in ALL for fold in (0, 1))
    assert training_of(tuned.path, "self-training")["pseudo_labels"] == {}


def test_members_tell_what_they_began_as_and_stay_near_it(tuned: RunFolder, model: Path) -> None:
    start = open_bundle(model)
    for name in ALL:
        told = training_of(tuned.path, name, 1)["started_from"]
        member = next(member for member in start.card.members if member.card.scheme == name)
        assert (told["model"], told["model_sha256"], told["scheme"]) == ("start", start.sha256, name)
        assert (told["weights_sha256"], told["licence"]) == (member.weights_sha256, "CC-BY-NC-4.0")
    before = weights_of(model, "default")
    near = distance(weights_of(tuned.path, "default", 1), before)
    assert 0 < near < 0.5 * distance(before, {name: np.zeros_like(value) for name, value in before.items()})


def test_the_licence_comes_along(tuned: RunFolder, tmp_path: Path) -> None:
    packed = pack_model(tuned.path, tmp_path / "ours.mapping", ModelLabels(licence="CC0-1.0"))
    assert packed.card.licence == "CC0-1.0; CC-BY-NC-4.0 (of start, which this was fine-tuned from)"


def test_the_run_segments_and_says_what_it_is(tuned: RunFolder, tmp_path: Path) -> None:
    scan = write_phantoms(tmp_path / "data", 0, 1) / "p0_T1w.nii.gz"
    command = ["segment", str(scan), "-o", str(tmp_path / "out"), "--model", str(tuned.path), "--device", "cpu"]
    assert main(command) == 0
    assert (tmp_path / "out" / "p0_T1w_mask.nii.gz").is_file()
    assert "epochs = 1" in tuned.config_toml.read_text()


def test_what_is_trained_is_kept_and_another_start_is_refused(
    run: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(run), "--schemes", "default", "--folds", "0", *TRAIN, "--from"]
    assert main([*command, str(model)]) == 0
    assert main([*command, str(model)]) == 0
    assert "default, fold 0: already trained" in capsys.readouterr().out
    assert main([*command, str(run)]) == 2
    assert "holds a member trained with other settings or cases" in capsys.readouterr().err
    same = pack_model(model, tmp_path / "other-name.mapping", ModelLabels(name="another name"))
    assert main([*command, str(same.path)]) == 0


def test_a_run_that_was_fine_tuned_is_a_start_too_and_its_licence_goes_on(
    run: Path, tuned: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", str(run), "--from", str(tuned.path), "--schemes", "mixup", "--folds", "1", *TRAIN]
    assert main(command) == 0
    assert "mixup, fold 1, from run (default, fold 1)" in " ".join(capsys.readouterr().out.split())
    assert "CC-BY-NC-4.0" in open_bundle(run).card.licence


def test_members_keep_the_network_patch_and_preparation_of_the_model(run: Path, tmp_path: Path) -> None:
    spec = PreprocessSpec((3.0, 3.0, 4.0), resampling="cubic", normalise="box")
    write_model(tmp_path / "foreign", member_card("theirs", 3, preprocess=spec, patch=(8, 12, 8), training={}))
    config = fine_tuning_config(TrainConfig(from_=str(tmp_path / "foreign"), size="tiny"))
    assert (config.schemes, config.size) == (("default",), "tiny")
    assert (
        main(["train", str(run), "--from", str(tmp_path / "foreign"), "--size", "tiny", *TRAIN, "--arrays-only"]) == 0
    )
    assert main(["train", str(run), "--from", str(tmp_path / "foreign"), "--size", "tiny", *TRAIN]) == 0
    made = open_bundle(run).card.members[0].card
    theirs = open_bundle(tmp_path / "foreign").card.members[0].card
    assert (made.network, made.preprocess, made.patch) == (theirs.network, theirs.preprocess, theirs.patch)


def test_a_fine_tuning_is_short_and_gentle(model: Path) -> None:
    config = fine_tuning_config(TrainConfig(from_=str(model)))
    assert (config.schemes, config.size, config.epochs) == (ALL, "tiny", EPOCHS)
    assert config.wanted_size.learning_rate == pytest.approx(NANO.learning_rate / 30, abs=1e-6)
    assert TrainConfig(size="tiny").wanted_size == NANO


def test_a_model_of_another_size_is_refused(
    run: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(run), "--from", str(model), "--size", "compact"]) == 2
    assert "its members are of size tiny, not compact; leave --size out" in " ".join(capsys.readouterr().err.split())
    foreign = write_model(tmp_path / "foreign", member_card(training={}))
    assert fine_tuning_config(TrainConfig(from_=str(foreign.path))).size == "full"


def test_a_model_that_is_not_there_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(run), "--from", "nowhere.mapping"]) == 2
    assert "nowhere.mapping: no such model" in capsys.readouterr().err
    assert not (run / "train").exists()


def of_schemes(path: Path, *members: tuple[str, int]) -> Bundle:
    return write_model(path, *(member_card(scheme, fold) for scheme, fold in members))


def test_a_member_begins_as_the_one_of_its_scheme_and_fold(tmp_path: Path) -> None:
    bundle = of_schemes(tmp_path / "model", ("residual", 0), ("dice-topk10", 1), ("default", 1), ("default", 2))
    for scheme, fold, expected in (
        ("default", 2, "default, fold 2"),
        ("default", 0, "default, fold 1"),
        ("residual", 4, "residual, fold 0"),
        ("carvemix", 1, "dice-topk10, fold 1"),
    ):
        assert choose_warm_start(bundle, find_scheme(scheme), fold).member.card.name == expected


def test_of_members_of_several_sizes_those_of_the_first_are_begun_with(tmp_path: Path) -> None:
    finer = member_card("default", 1, training=TRAINING | {"size": "fine"})
    bundle = write_model(tmp_path / "model", member_card("default", 0), finer)
    assert choose_warm_start(bundle, find_scheme("default"), 1).member.card.name == "default, fold 0"


def test_a_scheme_that_nothing_fits_is_refused(tmp_path: Path) -> None:
    bundle = of_schemes(tmp_path / "model", ("default", 0), ("mixup", 0))
    with pytest.raises(ConfigError, match=r"no member to start residual from, .*; it has default, mixup: train only"):
        choose_warm_start(bundle, find_scheme("residual"), 0)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--epochs", "0"], "got --epochs 0, expected 1 or more"),
        (["--learning-rate", "0"], "got --learning-rate 0.0, expected above 0"),
        (["--learning-rate", "nan"], "got --learning-rate nan, expected above 0"),
    ],
)
def test_numbers_out_of_range_are_refused(
    options: list[str], problem: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(run), "--size", "tiny", *options]) == 2
    assert problem in capsys.readouterr().err
