"""The benchmark of native space and back: whose scans, what is compared, and its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench_command import run_bench
from benchmarks import round_trip
from benchmarks.misplaced_scans import MisplacedScan, Plan
from benchmarks.round_trip import (
    RoundTrip,
    Trip,
    describe_round_trips,
    held_out_brains,
    plan_round_trips,
    segment_both_ways,
)
from mapping_stroke.cohort import segmenter as segment_reading
from mapping_stroke.cohort.segmenter import Segmenter, make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import ConfigError, RegistrationError
from mapping_stroke.images.image import Image
from mapping_stroke.networks.bundle import write_bundle
from mapping_stroke.space import model_input as seen
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.rough_fit import Quality
from moved_heads import brain_of, head, move, moved_scan
from small_models import dark_weights, member_card, model_card, write_seeing_model

TRUTH = move((10, -8, 6), (20, -30, 10))
PLAN = Plan(Path("sub-01_T1w.nii.gz"), "stripped", 14.0, 14.0, 37.0, (3.0, 3.0, 3.0), "PSL")
DARK = -1000.0
"""So dark that the small model marks it, and far from the 500 of the brightest tissue."""


@pytest.fixture
def made() -> MisplacedScan:
    """A ball in the right hemisphere of a moved head, and in the same head before it was moved."""
    scan, still = moved_scan(TRUTH, axes="PSL"), head(stripped=True)
    balls = []
    for image, to_mni in ((scan, np.linalg.inv(TRUTH)), (still, np.eye(4))):
        index = np.indices(image.shape).reshape(3, -1)
        x, y, z = ((to_mni @ image.affine)[:3] @ np.r_[index, np.ones((1, index.shape[1]))]).reshape(3, *image.shape)
        balls.append((x - 30) ** 2 + (y + 20) ** 2 + (z - 25) ** 2 < 15**2)
    voxels, unmoved = (
        np.where(ball, DARK, scale * image.voxels).astype(np.float32)
        for ball, image, scale in ((balls[0], scan, 1), (balls[1], still, 500))
    )
    brain = brain_of(scan, TRUTH).voxels > 0.5
    return MisplacedScan(PLAN, Image(voxels, scan.affine), brain, balls[0], TRUTH, Image(unmoved, still.affine))


@pytest.fixture
def model(tmp_path: Path) -> Segmenter:
    """Its patch holds most of a brain, so that the ball is far from the usual there."""
    card = model_card(member_card(preprocess=PreprocessSpec(3.0), patch=(40, 48, 40)))
    path = write_bundle(tmp_path / "model.mapping", card, dark_weights)
    return make_segmenter(Computation(str(path), preset="fast", rule="none", device="cpu"))


def placed_at(scan: Image, place: np.ndarray) -> PlacedScan:
    quality = Quality(0.5, 0.9, (0.93, 0.93, 0.93), 0.0)
    brain = Brain(np.ones(scan.shape, np.bool_), stripped=True, source="shown")
    return PlacedScan(scan, scan, brain, np.linalg.inv(place), quality, left_alone=False, starts=3)


@pytest.mark.slow
def test_where_the_place_is_right_all_masks_agree(
    made: MisplacedScan, model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "place_scan", lambda scan, *_: placed_at(scan, TRUTH))
    monkeypatch.setattr(segment_reading, "tame_outliers", lambda image: image)  # the ball is darker than any tissue
    trip = segment_both_ways(made, model)
    assert trip.error_mm == pytest.approx(0, abs=1e-9)
    assert trip.true_ml == pytest.approx(14.1 * 0.93**3, rel=0.1)
    assert trip.maps["own"] == 1
    assert min(*trip.maps.values(), *trip.masks.values()) > 0.85
    assert min(trip.truths.values()) > 0.7
    assert trip.counts


@pytest.mark.slow
def test_a_wrong_place_is_told_by_the_true_copy_alone(
    made: MisplacedScan, model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = TRUTH @ move((0, 0, 0), (0, 0, 40), size=1)
    near_the_edge = replace(placed_at(made.scan, aside))
    monkeypatch.setattr(seen, "place_scan", lambda *_: near_the_edge)
    assert segment_both_ways(made, model).error_mm == pytest.approx(37.2)


def test_a_scan_that_is_not_placed_is_told(
    made: MisplacedScan, model: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> PlacedScan:
        raise RegistrationError("could not be registered")

    monkeypatch.setattr(seen, "place_scan", refuse)
    trip = segment_both_ways(made, model)
    assert trip.failure == "could not be registered"
    assert not trip.counts


def test_scans_are_of_people_kept_for_tests(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"sub-{number:02d}_T1w.nii.gz").touch()
    kept = held_out_brains(RoundTrip(tmp_path))
    assert len(kept) == 2
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "sub-01_T1w.nii.gz").touch()
    with pytest.raises(ConfigError, match="too few people"):
        held_out_brains(RoundTrip(lonely))


def test_each_brain_comes_stripped_and_in_a_head() -> None:
    plans = plan_round_trips([Path("a_T1w.nii"), Path("b_T1w.nii")], 6, np.random.default_rng(0))
    assert [(plan.name, plan.kind) for plan in plans[:4]] == [
        *(("a", "stripped"), ("a", "head")),
        *(("b", "stripped"), ("b", "head")),
    ]
    assert plans[-1].turn_deg == round_trip.LARGEST_TURN_DEG


def test_the_page_counts_lesions_over_5_ml(tmp_path: Path) -> None:
    bench = RoundTrip(tmp_path, model=str(write_seeing_model(tmp_path / "model.mapping").path))
    trips = [
        Trip(PLAN, 11.0, 10.0, 1.2, {"own": 1.0, "true": 0.96}, {"own": 0.97, "true": 0.94}, truths)
        for truths in ({"native": 0.8, "own": 0.8, "true": 0.82}, {"native": 0.6, "own": 0.62, "true": 0.7})
    ]
    nan = float("nan")
    small = replace(trips[0], true_ml=4.0, maps={"own": 0.1, "true": 0.1})
    page = describe_round_trips(
        [*trips, small, Trip(PLAN, 9.0, nan, nan, {}, {}, {}, "could not be registered")], bench, "COMMAND"
    )
    assert "- **own copy**, lesions over 5 mL: *map* Dice 1.000 (lowest 1.000; 2 of 2 at least 0.95)" in page
    assert "- **true copy**, lesions over 5 mL: *map* Dice 0.960 (lowest 0.960; 2 of 2 at least 0.95); *mask*" in page
    assert "native 0.700, own copy 0.710, true copy 0.760" in page
    assert "sub-01: could not be registered." in page
    assert len({line.count("|") for line in page.splitlines() if line.startswith(("| sub-01", "| brain"))}) == 1


def test_the_command_writes_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = write_seeing_model(tmp_path / "model.mapping").path
    trip = Trip(PLAN, 11.0, 10.0, 1.2, *[{"own": 1.0, "true": 0.9}] * 2, dict.fromkeys(("native", "own", "true"), 0.5))
    monkeypatch.setattr(round_trip, "bench_round_trip", lambda bench: (trip,) * bench.cases)
    page = tmp_path / "page.md"
    command = ["round-trip", str(tmp_path), "--model", str(model), "--cases", "2", "-o", str(page)]
    assert run_bench(command) == 0
    assert "`python -m benchmarks round-trip BRAINS --model model.mapping --cases 2`" in page.read_text()


def test_no_cases_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench(["round-trip", str(tmp_path), "--cases", "0"]) == 2
    assert "--cases must be 1 or more" in capsys.readouterr().err
