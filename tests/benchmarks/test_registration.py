"""The benchmark of registration: what is planned, what it tells of a scan, and its page."""

from pathlib import Path

import numpy as np
import pytest

from bench_command import run_bench
from benchmarks import registration
from benchmarks.commands import Cost
from benchmarks.misplaced_scans import MisplacedScan, Plan
from benchmarks.registration import (
    Outcome,
    Placing,
    RawScan,
    Registrations,
    describe_registration,
    plan_misplaced,
    register,
    wrong_qualities,
)
from mapping_stroke.errors import RegistrationError
from mapping_stroke.images.image import Image, write_image
from mapping_stroke.space import rough_fit as search
from mapping_stroke.space.placement import PlacedScan, place_scan
from mapping_stroke.space.rough_fit import Quality, displacement_mm
from moved_heads import brain_of, head, move, moved_scan

TRUTH = move((8, -5, 6), (10, -20, 10))
GOOD = Quality(0.45, 0.95, (0.9, 0.95, 0.88), 2.0)
PLAN = Plan(Path("sub-01_T1w.nii.gz"), "head", 40.0, 20.0, 30.0, (1.0, 1.0, 3.0), "PSL")


@pytest.fixture(scope="module")
def made() -> MisplacedScan:
    scan = moved_scan(TRUTH)
    brain = brain_of(scan, TRUTH).voxels > 0.5
    return MisplacedScan(PLAN, scan, brain, np.zeros_like(brain), TRUTH, head(stripped=True))


@pytest.fixture(scope="module")
def placed(made: MisplacedScan) -> PlacedScan:
    """Found from a single start: the head is hardly turned."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "waves", lambda: iter([[np.eye(3)]]))
        return place_scan(made.scan, "native")


@pytest.fixture
def known(placed: PlacedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is registered twice."""
    monkeypatch.setattr(registration, "place_scan", lambda scan, space: placed)
    monkeypatch.setattr(registration, "unmoved_place", lambda path: move((0, 0, 0), (2, 0, 0), size=1))


def test_turns_shrink_and_every_orientation_comes_once() -> None:
    plans = plan_misplaced([Path("a_T1w.nii"), Path("b_T1w.nii")], 48, np.random.default_rng(0))
    assert [plan.turn_deg for plan in plans] == sorted((plan.turn_deg for plan in plans), reverse=True)
    assert (plans[0].turn_deg, max(plan.shift_mm for plan in plans)) == (40, 60)
    assert len({plan.axes for plan in plans}) == 48
    assert [plan.name for plan in plans[:3]] == ["a", "b", "a"]
    assert all(plan.load_ml == 0 for plan in plans if plan.kind is None)


def test_one_place_beside_another_is_as_far_as_it_is_shifted() -> None:
    assert displacement_mm(np.eye(4), move((0, 0, 0), (3, 0, 4), size=1)) == pytest.approx(5)
    assert displacement_mm(TRUTH, TRUTH) == 0


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_a_misplaced_scan_is_found_and_wrong_places_are_not_trusted(made: MisplacedScan, placed: PlacedScan) -> None:
    outcome, found = register(made)
    assert found is placed
    assert outcome.error_mm < 2
    assert outcome.unmoved_mm == pytest.approx(2, abs=1.5)
    assert outcome.brain_dice > 0.9
    assert outcome.placing.failure == ""
    assert outcome.placing.processor_seconds > 0
    wrong = list(wrong_qualities(placed, seed=0))
    assert len(wrong) == len(registration.WRONG)
    assert all(quality.complaints() for quality in wrong)


def test_a_scan_that_is_not_placed_is_counted_as_such(made: MisplacedScan, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(scan: Image, space: str) -> PlacedScan:
        raise RegistrationError("could not be registered")

    monkeypatch.setattr(registration, "place_scan", refuse)
    outcome, placed = register(made)
    assert placed is None
    assert np.isnan(outcome.error_mm)
    assert outcome.placing.failure == "could not be registered"


def test_the_page_tells_successes_failures_and_limits() -> None:
    placing = Placing(GOOD, 3, stripped=False, processor_seconds=6.0)
    refused = Placing(None, 0, stripped=False, processor_seconds=40.0, failure="could not be registered")
    found = Registrations(
        raw=(RawScan("raw", (1.0, 1.0, 1.0), placing, Cost(21.0, 1.5e9, 30.0)),),
        misplaced=(
            Outcome(PLAN, placing, 1.2, 0.5, 0.96),
            Outcome(PLAN, placing, 4.2, 4.0, 0.90),
            Outcome(PLAN, refused, *[float("nan")] * 3),
        ),
        wrong=(Quality(0.04, 0.8, (0.9, 0.9, 0.9), 2.0),),
        apart_mm=(1.0, 2.0),
    )
    page = describe_registration(found, "python -m benchmarks registration")
    assert "**1 of 3 within 3 mm.**" in page
    assert "| raw | 1 1 1 | head | 0.45 | 0.95 | 0.90 0.95 0.88 | 3 | 6.0 | 30.0 | 21.0 | 1.50 |" in page
    assert "| sub-01 | head | 40 | 20 | 30 | 1 1 3 | PSL | 1.2 | 0.5 | 0.96 | 0.45 | 0.95 | 3 |" in page
    assert "sub-01: could not be registered." in page
    assert "0 of 1 would have been accepted" in page
    widths = {line.count("|") for line in page.splitlines() if line.startswith("| sub-01") or "error, mm" in line}
    assert len(widths) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_the_command_measures_and_draws(made: MisplacedScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = made.scan
    write_image(tmp_path / "native" / "sub-01_T1w.nii.gz", scan.voxels, scan.affine)
    monkeypatch.setattr(registration, "segment_as_a_command", lambda path: Cost(1.0, 1e9, 2.0))
    native, page, picture = (str(tmp_path / name) for name in ("native", "page.md", "picture.png"))
    status = run_bench(["registration", native, "--brains", native, "--scans", "0", "--picture", picture, "-o", page])
    assert status == 0
    assert "| sub-01 | 3 3 3 | brain |" in Path(page).read_text()
    assert "Misplaced" not in Path(page).read_text()
    assert Path(picture).stat().st_size > 5000


def test_a_number_of_scans_below_0_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_bench(["registration", str(tmp_path), "--brains", str(tmp_path), "--scans", "-1"]) == 2
    assert "--scans must be 0 or more" in capsys.readouterr().err
