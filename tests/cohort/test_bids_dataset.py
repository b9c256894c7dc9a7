"""What a BIDS derivative says of where its raw data lie, and of how it was made."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from mapping_stroke.cohort.bids import link
from mapping_stroke.cohort.loop import report_start
from mapping_stroke.cohort.methods import describe_methods
from mapping_stroke.cohort.segmenter import make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.rules import RULES
from small_models import member_card, write_model


def test_raw_data_are_found_from_the_derivative(tmp_path: Path) -> None:
    assert link(tmp_path / "raw", tmp_path / "raw" / "derivatives" / "mapping") == "../.."
    assert link(tmp_path / "raw", tmp_path / "out") == "../raw"


def test_raw_data_are_found_from_a_derivative_behind_a_link(tmp_path: Path) -> None:
    for name in ("target/Person", "disk"):
        (tmp_path / name).mkdir(parents=True)
    raw, moved = tmp_path / "study", tmp_path / "target" / "Person" / "derivatives"
    raw.symlink_to(tmp_path / "target" / "Person")
    moved.symlink_to(tmp_path / "disk")
    assert link(raw, tmp_path / "out") == "../study"
    assert link(raw, raw / "derivatives" / "mapping") == raw.as_uri()


def test_raw_data_on_another_drive_have_a_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr(os.path, "relpath", refuse)
    assert link(tmp_path / "my raw", tmp_path / "out") == f"file://{tmp_path.as_posix()}/my%20raw"


@pytest.mark.parametrize(
    ("mirror_axes", "told"), [(((0,), (0,)), "2 mirrorings"), (((0, 1, 2), (0,)), "up to 8 mirrorings"), (((), ()), "")]
)
def test_methods_and_progress_tell_how_patches_are_mirrored(
    mirror_axes: tuple[tuple[int, ...], ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = [member_card(fold=fold, mirror_axes=axes) for fold, axes in enumerate(mirror_axes)]
    model = write_model(tmp_path / "m.mapping", *cards).path
    segmenter = make_segmenter(Computation(str(model), preset="paper", device="cpu"))
    assert (
        f"in overlapping tiles{told and f', each over {told}'}; the probabilities were averaged."
        in describe_methods(segmenter).text
    )
    report_start(1, 1, segmenter)
    assert f"rule mapping{told and f', {told} each'})" in capsys.readouterr().out


def test_methods_of_a_single_network_that_reads_brains_name_every_step(tmp_path: Path) -> None:
    facts = {"space": "MNI152", "shows": "brain", "mirror": "always", "training_data": "simulated strokes"}
    levels = replace(RULES["mapping"], least_peak=0.8, smallest_mm3=300)
    card = member_card(mirror_axes=(0,))
    model = write_model(tmp_path / "m.mapping", card, postprocess=levels, **facts).path
    methods = describe_methods(make_segmenter(Computation(str(model), device="cpu")))
    for step in (
        "one network (default). It was trained on: simulated strokes. The brain of each scan was extracted with",
        "only the brain was passed to the model. A scan that did not lie in MNI152 space was",
        "The network was applied in overlapping tiles, over 2 mirrorings; the probabilities were averaged.",
        "nothing is marked in a scan without a voxel at P > 0.8; lesions below 300 mm3 are dropped",
    ):
        assert step in methods.text
    of_model, *tools = methods.citations[1:]
    assert of_model == "the model: Doe 2020"
    assert [cited.partition(",")[0] for cited in tools] == ["deepbet", "SimpleITK"]


@pytest.mark.parametrize(
    ("space", "shows", "asked", "cited"),
    [("MNI152", "head", "auto", True), ("MNI152", "head", "mni", False), ("native", "brain", "auto", True)],
)
def test_brain_extraction_is_cited_if_it_is_used(
    space: str, shows: str, asked: str, *, cited: bool, tmp_path: Path
) -> None:
    model = write_model(tmp_path / "m.mapping", space=space, shows=shows).path
    methods = describe_methods(make_segmenter(Computation(str(model), space=asked, device="cpu")))
    assert any(line.startswith("deepbet") for line in methods.citations) == cited == ("deepbet" in methods.text)
