"""The terms of a model follow what is trained from it."""

from pathlib import Path
from typing import Any

from mapping_stroke.models.pack import pack_model
from mapping_stroke.models.settings import ModelLabels
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.cards import inherit_licence
from small_models import TRAINING, member_card, write_trained_run

INHERITED = "CC-BY-NC-4.0 (of default, which this was fine-tuned from)"


def begun(**told: Any) -> dict[str, Any]:
    return {"started_from": {"model": "default", **told}}


def test_a_model_of_its_own_keeps_its_licence() -> None:
    assert inherit_licence("CC0-1.0", [{}, begun(), begun(licence=""), {"started_from": "a model"}]) == "CC0-1.0"


def test_each_licence_is_added_once_behind_the_own_one() -> None:
    trainings = [begun(licence="CC-BY-NC-4.0")] * 2
    assert inherit_licence("", trainings) == INHERITED
    assert inherit_licence("CC0-1.0", trainings) == f"CC0-1.0; {INHERITED}"
    assert inherit_licence(INHERITED, trainings) == INHERITED
    assert inherit_licence("all under CC-BY-NC-4.0", trainings) == "all under CC-BY-NC-4.0"


def test_packing_cannot_lose_it(tmp_path: Path) -> None:
    training = {**TRAINING, **begun(licence="CC-BY-NC-4.0")}
    run = write_trained_run(tmp_path / "run", member_card(training=training), member_card("residual"))
    assert open_bundle(run).card.licence == INHERITED
    packed = pack_model(run, tmp_path / "a.mapping", ModelLabels(name="ours", licence="CC0-1.0"))
    assert packed.card.licence == f"CC0-1.0; {INHERITED}"
    again = pack_model(packed.path, tmp_path / "b.mapping", ModelLabels(licence="MIT"))
    assert again.card.licence == f"MIT; {INHERITED}"
