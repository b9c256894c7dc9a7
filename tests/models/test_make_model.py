import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError, RunFolderError
from mapping_stroke.images.image import read_image
from mapping_stroke.models import train as train_model
from mapping_stroke.models.make import make_model
from mapping_stroke.models.pack import pack_model
from mapping_stroke.models.settings import HeldOutCases, ModelConfig, ModelLabels, Selection
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.processes import StopRequest
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.simulation import bank as simulation_bank
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.cohort import Sources
from mapping_stroke.training.schemes import SCHEMES, SIZES
from phantoms import COARSE

CONFIG = ModelConfig("tiny")


@pytest.fixture(scope="module", autouse=True)
def minute_sizes() -> Iterator[None]:
    smaller = replace(COARSE, epochs=1, steps_per_epoch=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", smaller)
        patch.setattr(simulation_bank, "FINER", 1)
        patch.setattr(held_out, "SPACING_MM", 6.0)
        patch.setattr(train_model, "VALIDATION_CASES", 2)
        patch.setattr(train_model, "UNLABELLED", 2)
        yield


@pytest.fixture
def brains_there(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bank of brains is made once for all trainings."""
    monkeypatch.setattr(train_model, "sources_folder", lambda _: made / "sources")


@pytest.fixture(scope="module")
def made(minute_sizes: None, coarse_pictures: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is made once for all tests here."""
    folder = tmp_path_factory.mktemp("model")
    assert make(folder) == []
    return folder


def make(folder: Path, config: ModelConfig = CONFIG) -> list[str]:
    # of an unknown space: registering every held-out case would take minutes
    labels = ModelLabels(name="made up", licence="nobody's", space="unknown", shows="unknown")
    return make_model(RunFolder(folder), Sources(), config, HeldOutCases(10, 2), labels, StopRequest())


def test_a_model_is_made_from_the_template_up(made: Path) -> None:
    bundle = open_bundle(made / "model.mapping")
    assert [member.card.scheme for member in bundle.card.members] == sorted(scheme.name for scheme in SCHEMES)
    assert bundle.card.name == "made up"
    cards = {member.card.scheme: member.card for member in bundle.card.members}
    assert cards["default"].training["simulation"]["masks"] == 0
    pseudo = cards["self-training"].training["pseudo_labels"]
    assert pseudo["scheme"] in {scheme.name for scheme in SCHEMES if not scheme.pseudo_labels}
    assert len(pseudo["confidence"]) == 2
    assert all(bundle.find_problems(member) == [] for member in bundle.card.members)
    assert (made / "evaluation" / "evaluation.md").is_file()


@pytest.mark.usefixtures("brains_there")
def test_members_start_afresh_and_share_kept_cases(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    train_model.train_model(run, Sources(), replace(CONFIG, cases=3), StopRequest())
    assert len(list((tmp_path / "cases").glob("*_scan.npy"))) == 3
    cards = {member.card.scheme: member.card for member in open_bundle(tmp_path).card.members}
    assert set(cards) == {scheme.name for scheme in SCHEMES}
    assert {card.mirror_axes for card in cards.values()} == {(0,)}
    assert all("started_from" not in card.training for card in cards.values())
    assert cards["default"].training["simulation"]["kept_cases"] == 3
    told = json.loads((run.member("default", 0) / "recipe.json").read_text())["settings"]
    assert told["size"]["learning_rate"] == SIZES["tiny"].learning_rate


@pytest.mark.usefixtures("brains_there")
def test_members_go_on_with_those_of_a_model(made: Path, tmp_path: Path) -> None:
    model = made / "model.mapping"
    config = replace(CONFIG, cases=3, from_=str(model), epochs=2)
    train_model.train_model(RunFolder(tmp_path), Sources(), config, StopRequest())
    cards = {member.card.scheme: member.card for member in open_bundle(tmp_path).card.members}
    assert set(cards) == {scheme.name for scheme in SCHEMES}
    for member in open_bundle(model).card.members:
        told = cards[member.card.scheme].training
        assert told["started_from"]["weights_sha256"] == member.weights_sha256
        assert told["epochs"] == 2
    assert {card.mirror_axes for card in cards.values()} == {(0,)}
    told = json.loads((RunFolder(tmp_path).member("default", 0) / "recipe.json").read_text())["settings"]
    assert told["size"]["learning_rate"] == SIZES["tiny"].learning_rate / 2
    maker = cards["self-training"].training["pseudo_labels"]
    assert maker["weights_sha256"] in {member.weights_sha256 for member in open_bundle(model).card.members}


def test_members_do_not_go_on_with_networks_of_another_size(made: Path, tmp_path: Path) -> None:
    config = ModelConfig("small", cases=1, from_=str(made / "model.mapping"))
    with pytest.raises(ConfigError, match=r"model\.mapping: its networks are not those of size small"):
        train_model.train_model(RunFolder(tmp_path), Sources(), config, StopRequest())
    assert list(tmp_path.iterdir()) == []  # so that the corrected call finds nothing of this one


@pytest.mark.slow
def test_members_that_grow_can_be_packed_beside_those_that_they_grew_from(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = SIZES["tiny"]
    wider = {
        encoder: replace(spec, features=tuple(n + 2 * at for at, n in enumerate(spec.features, 1)), unshuffle=2)
        for encoder, spec in (("plain", tiny.plain), ("residual", tiny.residual))
    }
    grown = replace(tiny, name="fine", preprocess=PreprocessSpec(3.0), patch=(32, 32, 32), **wider)
    monkeypatch.setitem(SIZES, "fine", grown)
    chosen = ("default", "self-training")
    config = replace(CONFIG, size="fine", from_=str(made / "model.mapping"), schemes=chosen, cases=2)
    assert make(tmp_path, config) == []
    both = tmp_path / "both.mapping"
    pack_model(tmp_path / "model.mapping", both, ModelLabels(), Selection(beside=str(made / "model.mapping")))
    bundle = open_bundle(both)
    former = [(scheme.name, 0, 6.0) for scheme in SCHEMES]
    new = [(name, 1, 3.0) for name in chosen]
    cards = [member.card for member in bundle.card.members]
    assert sorted((card.scheme, card.fold, card.preprocess.spacing_mm) for card in cards) == sorted(former + new)
    assert all(bundle.find_problems(member) == [] for member in bundle.card.members)
    assert cards[-1].training["started_from"]["scheme"] == cards[-1].scheme


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schemes": ("default",)}, "add --from, --patches or --minutes"),
        ({"schemes": ("carvemix",), "from_": "default"}, "carvemix is none of the paper's schemes"),
        ({"schemes": ("best",), "from_": "default"}, "no training scheme 'best'"),
    ],
)
def test_what_only_goes_on_with_a_model_is_refused_without_one(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **changes)


def test_held_out_cases_are_scans_with_masks_of_their_own(made: Path) -> None:
    for part, count in (("validation", 10), ("test", 2)):
        scans = sorted((made / "held-out" / part).glob("*_T1w.nii.gz"))
        assert len(scans) == count
        for scan in map(read_image, scans[:2]):
            assert 1 <= scan.voxels[scan.voxels > 0].min() < scan.voxels.max() <= 255
    masks = [read_image(path) for path in sorted((made / "held-out" / "validation").glob("*_mask.nii.gz"))]
    assert any(mask.voxels.any() for mask in masks)
    assert set(np.unique(masks[0].voxels)) <= {0, 1}


def test_what_is_trained_is_not_trained_again_and_other_settings_are_refused(made: Path) -> None:
    weights = made / "train" / "default" / "fold_0" / "weights.safetensors"
    trained_at = weights.stat().st_mtime_ns
    make(made)
    assert weights.stat().st_mtime_ns == trained_at
    with pytest.raises(RunFolderError):
        make(made, replace(CONFIG, seed=1))


@pytest.mark.slow
def test_the_same_seed_makes_the_same_model(made: Path, tmp_path: Path) -> None:
    make(tmp_path)
    first, second = (open_bundle(folder / "model.mapping") for folder in (made, tmp_path))
    assert [m.weights_sha256 for m in first.card.members] == [m.weights_sha256 for m in second.card.members]


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="got 0 jobs"):
        ModelConfig(jobs=0)
    with pytest.raises(ConfigError, match="got --uses 0, expected 1 or more"):
        ModelConfig(uses=0)
    with pytest.raises(ConfigError, match="got -1 cases to keep"):
        ModelConfig(cases=-1)
    with pytest.raises(ConfigError, match="got -1 epochs"):
        ModelConfig(epochs=-1)
    with pytest.raises(ConfigError, match="--validation 5"):
        HeldOutCases(validation=5)
