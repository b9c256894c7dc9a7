"""The benchmark of brain extraction: what is planned and painted, what counts as kept, and its page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from bench_command import run_bench
from benchmarks import brain as bench
from benchmarks import brain_pairs
from benchmarks.brain import (
    BrainResults,
    HeadResult,
    Kept,
    Outcome,
    Unpainted,
    measure_pair,
)
from benchmarks.brain_pairs import Pair, find_heads, plan_pairs
from benchmarks.brain_sketch import Section
from benchmarks.brain_text import describe_brain
from benchmarks.painted_strokes import Head, lay_mask, make_head, paint, surface_share
from mapping_stroke.errors import CaseError, ConfigError, RegistrationError
from mapping_stroke.images.image import Image, write_image
from mapping_stroke.simulation.lesions import RealMask
from mapping_stroke.space.brain import Brain
from mapping_stroke.space.placement import PlacedScan
from mapping_stroke.space.rough_fit import Quality
from moved_heads import brain_of, move, moved_scan

TRUTH = move((4, -3, 5), (5, -10, 8))
SCAN = moved_scan(TRUTH, stripped=False)
BRAIN = brain_of(SCAN, TRUTH).voxels > 0.5
QUALITY = Quality(0.45, 0.95, (0.93, 0.93, 0.93), 0.0)
PLACED = PlacedScan(
    SCAN,
    SCAN,
    Brain(BRAIN, stripped=False, source="network"),
    np.linalg.inv(TRUTH),
    QUALITY,
    left_alone=False,
    starts=1,
)
DEEP_MM, CORTEX_MM = (-26.0, -10.0, 20.0), (-62.0, -15.0, 15.0)


def ball(centre_mm: tuple[float, float, float], radius_mm: float, name: str = "ball") -> RealMask:
    side = 2 * round(radius_mm) + 3
    away = np.linalg.norm(np.indices((side, side, side)) - side // 2, axis=0)
    affine = np.eye(4)
    affine[:3, 3] = np.array(centre_mm) - side // 2
    voxels = (away <= radius_mm).astype(np.uint8) * 255
    return RealMask(name, torch.from_numpy(voxels), affine, float((voxels > 0).sum()), np.array(centre_mm))


@pytest.fixture(scope="module")
def head() -> Head:
    return make_head("head", PLACED, None)


def test_the_space_of_a_head_is_its_brain_without_skull_and_scalp(head: Head) -> None:
    assert 2 * (head.space & BRAIN).sum() / (head.space.sum() + BRAIN.sum()) > 0.95
    farther = ndimage.distance_transform_edt(~BRAIN, sampling=SCAN.spacing_mm)
    assert farther[head.space].max() < 7


def test_the_space_of_a_head_with_a_reference_is_that() -> None:
    space = make_head("head", PLACED, BRAIN).space
    assert (space & BRAIN).sum() == BRAIN.sum()
    assert space.sum() < 1.1 * BRAIN.sum()


def test_a_mask_is_laid_where_the_head_lies_and_mirrored(head: Head) -> None:
    for mirrored, sign in ((False, -1), (True, 1)):
        lesion = lay_mask(ball(DEEP_MM, 12), head, mirrored=mirrored, to_surface=False)
        places = head.placed.to_mni @ SCAN.affine @ np.r_[np.argwhere(lesion).mean(axis=0), 1]
        np.testing.assert_allclose(places[:3], [sign * 26, -10, 20], atol=1)
        assert lesion.sum() * SCAN.voxel_volume_mm3 == pytest.approx(4 / 3 * np.pi * 12**3 * 0.93**3, rel=0.05)


def test_a_lesion_of_the_cortex_becomes_fluid_up_to_the_surface(head: Head) -> None:
    cortical = ball(CORTEX_MM, 10)
    assert surface_share(cortical) > 0.1
    assert surface_share(ball(DEEP_MM, 10)) == 0
    laid, extended = (lay_mask(cortical, head, mirrored=False, to_surface=wanted) for wanted in (False, True))
    assert (laid & ~extended).sum() == 0
    assert 0 < (extended & ~laid).sum() < laid.sum()
    outside = ndimage.binary_dilation(~head.space)
    assert (extended & outside).sum() > (laid & outside).sum() > 0


def test_a_cavity_has_the_fluid_of_the_ventricles_and_leaves_the_rest_as_it_is(head: Head) -> None:
    lesion = lay_mask(ball(DEEP_MM, 14), head, mirrored=False, to_surface=False)
    painted = paint(head, lesion, np.random.default_rng(0))
    core = ndimage.binary_erosion(lesion)
    level, noise = head.fluid
    assert 20 < level < 250
    assert np.median(painted.voxels[core]) == pytest.approx(level, abs=noise)
    assert painted.voxels[core].std() < 2 * noise
    assert np.median(SCAN.voxels[core]) > 2 * level
    far = ndimage.distance_transform_edt(~lesion, sampling=SCAN.spacing_mm) > 10
    assert (painted.voxels == SCAN.voxels)[far].all()
    assert (painted.voxels == SCAN.voxels)[~head.space].all()


def test_pairs_are_balanced_over_heads_kinds_and_sides() -> None:
    masks = [(ball((-30.0, 0.0, 0.0), radius, str(radius)), radius % 2 == 0) for radius in range(8, 28)]
    pairs = plan_pairs(4, masks, 16, np.random.default_rng(0))
    assert [sum(pair.head == number for pair in pairs) for number in range(4)] == [4] * 4
    assert sum(pair.at_surface for pair in pairs) == 8
    assert sum(pair.mirrored for pair in pairs) == 8
    assert all(pair.at_surface == (int(pair.mask.name) % 2 == 0) for pair in pairs)
    assert len({pair.mask.name for pair in pairs}) == 16
    only_deep = [(mask, False) for mask, _ in masks]
    assert len(plan_pairs(4, only_deep, 5, np.random.default_rng(0))) == 5


def test_the_share_is_of_the_lesion_inside_the_brain(head: Head) -> None:
    pair = Pair(0, ball(DEEP_MM, 14), mirrored=False, at_surface=False)
    lesion = lay_mask(pair.mask, head, mirrored=False, to_surface=False)
    finders = {"network": lambda head, scan: BRAIN & ~lesion, "template": lambda head, scan: BRAIN}
    before = {"network": BRAIN}
    (outcome,) = measure_pair(head, pair, before, finders, np.random.default_rng(0))
    kept = outcome.kept
    assert (kept["network"].share, kept["template"].share) == (0, 1)
    assert kept["network"].volume_ratio == pytest.approx(1 - lesion.sum() / BRAIN.sum())
    assert kept["network"].share_before == 1
    assert np.isnan([kept["template"].volume_ratio, kept["template"].share_before]).all()
    assert outcome.load_ml == pytest.approx(9.2, abs=0.5)
    assert (
        list(measure_pair(head, replace(pair, mask=ball(DEEP_MM, 3)), before, finders, np.random.default_rng(0))) == []
    )


def test_heads_are_told_from_stripped_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, shift in (("a_T1w", 0), ("b_T1w", 7), ("a_brain", 0)):
        write_image(tmp_path / f"{name}.nii.gz", np.full((4, 4, 4), 1 + shift, np.float32), np.eye(4))
    whole = np.ones((4, 4, 4), np.bool_)
    monkeypatch.setattr(brain_pairs, "find_brain", lambda scan: Brain(whole, bool(scan.voxels.max() > 5), "network"))
    assert [path.name for path in find_heads([tmp_path])] == ["a_T1w.nii.gz"]
    with pytest.raises(CaseError, match="no whole heads"):
        find_heads([tmp_path / "b_T1w.nii.gz"])
    with pytest.raises(CaseError, match="no such file"):
        find_heads([tmp_path / "c_T1w.nii.gz"])


def run(tmp_path: Path, *more: str) -> int:
    for name, voxels in (("a_T1w", SCAN.voxels), ("a_brain", BRAIN)):
        write_image(tmp_path / "heads" / f"{name}.nii.gz", voxels, SCAN.affine)
    for name, centre in (("deep", DEEP_MM), ("cortex", CORTEX_MM)):
        mask = ball(centre, 12)
        write_image(tmp_path / "lesions" / f"{name}_lesion.nii.gz", mask.voxels.numpy() > 0, mask.affine)
    arguments = ["brain", str(tmp_path / "heads"), "--lesions", str(tmp_path / "lesions"), "--count", "4"]
    return run_bench([*arguments, *more])


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network is run, and nothing is registered."""
    for module in (bench, brain_pairs):
        monkeypatch.setattr(module, "find_brain", lambda scan: PLACED.brain)
    monkeypatch.setattr(bench, "place_scan", lambda scan, space: PLACED)


@pytest.mark.slow
@pytest.mark.usefixtures("known")
def test_the_command_paints_measures_and_draws(tmp_path: Path) -> None:
    robex = tmp_path / "robex"
    robex.write_text(f'#!/bin/sh\ncp "{tmp_path}/heads/a_brain.nii.gz" "$3"\n')
    robex.chmod(0o755)
    page, picture = tmp_path / "page.md", tmp_path / "picture.png"
    options = ("--robex", str(robex), "--robex-count", "2", "--picture", str(picture), "-o", str(page))
    assert run(tmp_path, *options) == 0
    text = page.read_text()
    assert "in 4 painted heads" in text
    assert "ROBEX is slow, so it was run on 2 of the painted heads" in text
    assert "| a | network | 1.000 | 1.000 |" in text
    assert "--robex ENVIRONMENT/bin/robex --robex-count 2`" in text
    assert str(tmp_path) not in text
    assert picture.stat().st_size > 5000


@pytest.mark.usefixtures("known")
def test_a_head_that_is_not_placed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(scan: Image, space: str) -> PlacedScan:
        raise RegistrationError("could not be registered")

    monkeypatch.setattr(bench, "place_scan", refuse)
    assert run(tmp_path, "-o", str(tmp_path / "page.md")) == 0
    text = (tmp_path / "page.md").read_text()
    assert "| a | 3 3 3 | no: could not be registered | 0 |" in text
    assert "No lesion was painted." in text


def test_the_page_tells_what_was_lost() -> None:
    nan = float("nan")
    fine, bad = Kept(0.999, 1.0, 1.0, 2.0, warned=False), Kept(0.8, 0.99, 0.95, 3.0, warned=True)
    plane = np.zeros((2, 2), np.float32)
    section = Section(plane, plane, {"lesion": plane > 0}, 1.0)
    outcomes = (
        Outcome("one", "soop-1", True, 10.0, {"network": bad, "template": fine}, (section, section)),
        Outcome("one", "soop-2", False, 120.0, {"network": fine, "template": fine}, (section, section)),
    )
    found = {"network": Unpainted(1500.0, 2.0, 0.99, 0.95), "template": Unpainted(1400.0, 1.0, nan, nan)}
    page = describe_brain(BrainResults((HeadResult("one", (1.0, 1.0, 3.0), found),), outcomes), "COMMAND")
    assert "**Network: mean share 0.899, worst 0.800**" in page
    assert "not met" in page
    assert "| at the surface | network | 1 | 0.800 | 0.800 | 0.800 | 1 | 0.990 | 0.950 | 0.950 | 1 | 3.0 |" in page
    assert "| one | 1 1 3 | yes | 2 | 0.899 (0.800) | 0.999 (0.999) |  | 2.0 |" in page
    assert "| one | soop-1 | surface | 10 | 2.0 | 0.800 | 0.990 | 0.950 | yes | 0.999 |" in page
    assert "15 to 50 mL" not in page
    for table in page.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines() if line.startswith("|")}) <= 1


def test_wrong_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--count must be 1 or more"):
        bench.Brain((tmp_path,), tmp_path, count=0)
    with pytest.raises(ConfigError, match="no such file"):
        bench.Brain((tmp_path,), tmp_path, robex=tmp_path / "robex")
