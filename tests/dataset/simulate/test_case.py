from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.simulate.anatomy import CSF_LEVEL, Brain
from mapping_stroke.dataset.simulate.appearance import REACH_MM, draw_appearance, paint_lesions
from mapping_stroke.dataset.simulate.case import SimulatedCase, draw_look, settle_mask, simulate_case
from mapping_stroke.dataset.simulate.deformation import displacement_of, draw_deformation
from mapping_stroke.dataset.simulate.intensity import Scanner, acquire, draw_scanner, store, vary_scanner
from mapping_stroke.dataset.simulate.loads import split_load
from mapping_stroke.dataset.simulate.shapes import draw_lesions
from mapping_stroke.dataset.simulate.volume import Region, blur, gradient

SCANNER = Scanner(csf=0.25, grey=0.65, bias=0.0, noise=0.0, blur_mm=0.0)


def simulate(brain: Brain, allowed: Region, load_mm3: float, seed: int) -> SimulatedCase:
    rng = np.random.default_rng(seed)
    lesions = draw_lesions(brain, allowed, split_load(load_mm3, rng), rng)
    return simulate_case(brain, lesions, draw_look(load_mm3, draw_scanner(rng), 1.0, rng), rng)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("load_mm3", [100.0, 4_000.0, 120_000.0])
def test_a_case_has_its_load_inside_the_brain_and_background_0(
    brain: Brain, allowed: Region, load_mm3: float, seed: int
) -> None:
    case = simulate(brain, allowed, load_mm3, seed)
    assert int(case.mask.sum()) == pytest.approx(load_mm3 / 27, rel=0.25, abs=2)
    assert bool((case.coverage[case.mask] > 0.5).all())
    assert float(case.coverage.mean()) == pytest.approx(float(brain.inside.float().mean()), abs=0.05)
    assert not store(case.scan, case.coverage)[0].any()


def test_the_same_numbers_make_the_same_case_and_others_another(brain: Brain, allowed: Region) -> None:
    first, second, other = (simulate(brain, allowed, 5_000.0, seed) for seed in (1, 1, 2))
    assert torch.equal(first.scan, second.scan)
    assert torch.equal(first.mask, second.mask)
    assert not torch.equal(first.scan, other.scan)


@pytest.mark.parametrize("seed", range(6))
def test_a_lesion_is_darker_than_around_it_and_than_before(brain: Brain, allowed: Region, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lesions = draw_lesions(brain, allowed, [15_000.0], rng)
    painted = paint_lesions(brain.t1, brain, lesions, draw_appearance(15_000.0, rng), rng)
    assert bool((painted <= brain.t1 + 1e-6).all())
    around = (blur(lesions.float(), 2.0) > 0.02) & ~lesions & (brain.white + brain.grey > 0.5)
    assert float(painted[lesions].median()) < float(painted[around].median()) - 0.15
    assert float(painted[lesions].min()) > 0.7 * CSF_LEVEL
    assert float(painted[lesions].std()) > 0.02


def test_far_from_a_lesion_nothing_changes_and_no_lesion_changes_nothing(brain: Brain, allowed: Region) -> None:
    rng = np.random.default_rng(0)
    lesions = draw_lesions(brain, allowed, [2_000.0], rng)
    look = draw_appearance(2_000.0, rng)
    painted = paint_lesions(brain.t1, brain, lesions, look, rng)
    where, changed = lesions.nonzero(), (painted != brain.t1).nonzero()
    reach_vox = REACH_MM / brain.grid.spacing_mm
    assert bool((changed.amin(0) >= where.amin(0) - reach_vox).all())
    assert bool((changed.amax(0) <= where.amax(0) + reach_vox).all())
    assert torch.equal(paint_lesions(brain.t1, brain, torch.zeros_like(lesions), look, rng), brain.t1)


def test_a_cavity_is_darkest_in_the_middle_with_a_brighter_rim(brain: Brain) -> None:
    x, y, z = brain.grid.axes_mm(brain.device)
    lesions = ((x - 40) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < 15**2
    drawn = draw_appearance(14_000.0, np.random.default_rng(0))
    look = replace(drawn, kind="cavity", rim_mm=3.0, rim_level=0.55, contrast=0.8, texture=0.0)
    painted = paint_lesions(brain.t1, brain, lesions, look, np.random.default_rng(0))
    core = ((x - 40) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < 6**2
    rim = lesions & ~(((x - 40) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < 13**2)
    assert float(painted[core].mean()) == pytest.approx(look.cavity_level, abs=0.03)
    assert look.cavity_level + 0.1 < float(painted[rim].mean()) < 1.0


@pytest.mark.parametrize("seed", range(5))
def test_deformations_do_not_fold(brain: Brain, allowed: Region, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lesions = draw_lesions(brain, allowed, [80_000.0], rng)
    displacement = displacement_of(brain, lesions, draw_deformation(1.0, 80_000.0, 1.0, rng), rng)
    jacobian = torch.stack([gradient(part) for part in displacement]).permute(2, 3, 4, 0, 1) + torch.eye(3)
    assert float(torch.linalg.det(jacobian)[brain.inside].min()) > 0


def test_ventricles_grow_with_age_and_towards_a_large_lesion(brain: Brain) -> None:
    x, y, z = brain.grid.axes_mm(brain.device)
    none = torch.zeros_like(brain.inside)
    beside = ((x - 38) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < 15**2
    still = replace(
        draw_deformation(0.5, 0.0, 0.0, np.random.default_rng(0)), ventricles_mm=0.0, pull_mm=0.0, scale=(1.0, 1.0, 1.0)
    )

    def sideways(lesions: Region, ventricles_mm: float, pull_mm: float) -> tuple[float, float]:
        wanted = replace(still, ventricles_mm=ventricles_mm, pull_mm=pull_mm)
        moved = displacement_of(brain, lesions, wanted, np.random.default_rng(0))[0] * brain.grid.spacing_mm
        middle = (
            slice(None),
            *(int((place - origin) / 3) for place, origin in zip((-18, 9), brain.grid.origin_mm[1:], strict=True)),
        )
        line, at = moved[middle], x.flatten()
        return float(line[(at > 18) & (at < 24)].mean()), float(line[(at < -18) & (at > -24)].mean())

    right, left = sideways(none, 3.0, 0.0)  # look towards the middle on both sides
    assert right < -0.7
    assert left > 0.7
    right, left = sideways(beside, 0.0, 4.0)
    assert right < -0.7
    assert abs(left) < 0.5 * abs(right)


def test_a_scanner_maps_tissues_to_its_levels(brain: Brain) -> None:
    scan = acquire(brain.t1, 3.0, SCANNER, np.random.default_rng(0))
    assert store(scan, brain.inside.float()).unique().tolist() == [0, 40, 104, 160]


def test_scans_of_one_scanner_resemble_each_other() -> None:
    rng = np.random.default_rng(0)
    scanner = draw_scanner(rng)
    again = vary_scanner(scanner, rng)
    assert again.csf == pytest.approx(scanner.csf, abs=0.031)
    assert again.blur_mm == scanner.blur_mm


def test_a_deformed_mask_keeps_its_load_where_its_border_allows() -> None:
    share = torch.tensor([0.0, 0.1, 0.4, 0.6, 0.9, 0.2]).view(1, 1, 6)
    inside = torch.ones(1, 1, 6, dtype=torch.bool)
    assert settle_mask(share, inside, 2).flatten().tolist() == [False, False, False, True, True, False]
    assert int(settle_mask(share, inside, 0).sum()) == 1  # what surely is lesion stays
    assert not settle_mask(torch.zeros(1, 1, 6), inside, 0).any()
