from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.simulation.brain import CSF_LEVEL, GREY_LEVEL, Brain
from mapping_stroke.simulation.case import SimulatedCase, draw_look, settle_mask, simulate_case
from mapping_stroke.simulation.lesions import draw_lesions, split_load
from mapping_stroke.simulation.painting import REACH_MM, Appearance, Kind, draw_appearance, paint_lesions, take_sulci
from mapping_stroke.simulation.person import displacement_of, draw_deformation
from mapping_stroke.simulation.scanner import Scanner, acquire, draw_scanner, store, vary_scanner
from mapping_stroke.simulation.volume import Region, Volume, blur, gradient

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


def ball(brain: Brain, radius_mm: float) -> Region:
    x, y, z = brain.grid.axes_mm(brain.device)
    return ((x - 40) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < radius_mm**2


def plain(kind: Kind, **changes: float) -> Appearance:
    """An infarct without texture, halo or blurred border: every change shows what it does by itself."""
    look = Appearance(kind, 0.8, 2.0, 0.5, CSF_LEVEL, 0.1, 0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    return replace(look, **changes)


def paint_ball(brain: Brain, look: Appearance, radius_mm: float = 18.0) -> Volume:
    return paint_lesions(brain.t1, brain, ball(brain, radius_mm), look, np.random.default_rng(0))


def test_gliosis_falls_off_with_depth_until_a_cavity_holds_fluid(brain: Brain) -> None:
    painted = paint_ball(brain, plain("cavity"))
    shells = [ball(brain, outer) & ~ball(brain, inner) for outer, inner in ((18, 15), (15, 12), (12, 9), (9, 0))]
    levels = [float(painted[shell].mean()) for shell in shells]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > CSF_LEVEL + 0.3
    assert levels[-1] == pytest.approx(CSF_LEVEL, abs=0.03)


@pytest.mark.parametrize(("kind", "darker"), [("mixed", 0.1), ("gliotic", 0.15)])
def test_a_gliotic_middle_holds_more_tissue_than_a_cavity(brain: Brain, kind: Kind, darker: float) -> None:
    middle = ball(brain, 9.0)
    cavity, other = (float(paint_ball(brain, plain(each))[middle].mean()) for each in ("cavity", kind))
    assert cavity + 0.05 < other < float(brain.t1[middle].mean()) - darker


def test_gliosis_loses_the_contrast_of_grey_and_white_matter(brain: Brain) -> None:
    region = ball(brain, 18.0)
    white = region & (brain.white > 0.99)
    striped = torch.where((torch.arange(brain.grid.shape[2]) // 2) % 2 == 0, brain.t1, brain.t1.clamp(max=GREY_LEVEL))
    dark = white & (striped < brain.t1)
    contrasts = []
    for kept in (1.0, 0.0):
        look = plain("gliotic", contrast=kept, kept=0.5)
        painted = paint_lesions(striped, brain, region, look, np.random.default_rng(0))
        contrasts.append(float(painted[white & ~dark].median() - painted[dark].median()))
    assert contrasts[1] < 0.5 * contrasts[0]


def test_spared_islands_stay_tissue_and_take_their_share(brain: Brain) -> None:
    middle = ball(brain, 24.0)
    none, some = (
        float((paint_ball(brain, plain("cavity", islands=share), 30.0) > 0.8 * brain.t1)[middle].float().mean())
        for share in (0.0, 0.2)
    )
    assert 0.03 < some - none < 0.3


def test_a_fading_lesion_keeps_more_of_the_tissue(brain: Brain) -> None:
    region = ball(brain, 18.0)
    whole, fading = (float(paint_ball(brain, plain("cavity", fade=fade))[region].mean()) for fade in (0.0, 1.0))
    assert fading > whole + 0.05


def test_the_halo_darkens_white_matter_less_and_less_with_distance(brain: Brain) -> None:
    change = brain.t1 - paint_ball(brain, plain("cavity", halo=0.6, halo_mm=10.0), 9.0)
    white = brain.white > 0.9
    near, far = (float(change[white & ball(brain, outer) & ~ball(brain, outer - 3)].mean()) for outer in (13.0, 19.0))
    assert 0 <= far < 0.5 * near
    assert near > 0.07


def test_blood_is_darker_than_fluid_and_dead_cortex_brighter_than_it_was(brain: Brain) -> None:
    bloody = paint_ball(brain, plain("cavity", blood=1.0))
    assert float(bloody.min()) >= 0
    assert float(bloody[ball(brain, 18.0)].min()) < 0.8 * CSF_LEVEL
    x, y, z = brain.grid.axes_mm(brain.device)
    cortex = ((x - 58) ** 2 + (y + 18) ** 2 + (z - 9) ** 2) < 12**2
    look = plain("cavity", necrosis=1.0, border_mm=1.2)
    bright = paint_lesions(brain.t1, brain, cortex, look, np.random.default_rng(0)) > brain.t1 + 0.05
    assert bool(bright.any())
    assert bool((brain.grey[bright] > 0).all())


@pytest.mark.parametrize("side", [-1, 1])
def test_tracts_pale_below_a_large_lesion_of_their_own_side(brain: Brain, side: int) -> None:
    x, y, z = brain.grid.axes_mm(brain.device)
    far = ((x - side * 40) ** 2 + (y + 18) ** 2 + (z - 40) ** 2) < 22**2
    painted = paint_lesions(brain.t1, brain, far, plain("cavity", degeneration=1.0), np.random.default_rng(0))
    below = (z < -10) & (y > -34) & (y < -8) & (x.abs() < 20) & (x.abs() > 2)
    lost = [float((brain.t1 - painted)[below & (x * each > 0)].mean()) for each in (side, -side)]
    assert lost[0] > 0.01
    assert lost[1] == 0


def test_a_lesion_takes_the_sulci_and_the_cortex_of_its_territory_along_but_no_ventricle(
    brain: Brain, allowed: Region
) -> None:
    x, y, z = brain.grid.axes_mm(brain.device)
    lesions = allowed & (x > 25) & ((y + 18).abs() < 30) & ((z - 9).abs() < 30)
    grown = take_sulci(brain, lesions)
    surface = brain.inside & ~lesions & (brain.depth_mm < 4) & (x > 45) & ((y + 18).abs() < 20) & ((z - 9).abs() < 20)
    assert float(grown[surface].float().mean()) > 0.8
    assert bool((grown | ~lesions).all())
    assert not (grown & (~brain.inside | brain.ventricles)).any()
    small = ball(brain, 4.0)
    assert torch.equal(take_sulci(brain, small), small)
    assert not take_sulci(brain, small & ~small).any()


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
