from dataclasses import replace

import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import UNSURE
from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_scan
from mapping_stroke.images.image import Image
from mapping_stroke.simulation import bank as stream
from mapping_stroke.simulation import case as simulated_case
from mapping_stroke.simulation.bank import (
    COMPARISON_MIX,
    HELD_OUT_MIX,
    KINDS,
    TRAINING_MIX,
    Host,
    Mix,
    SimulationBank,
    draw_twins,
    finish_case,
    place_lesions,
)
from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.lesions import RealMask, cut_mask
from mapping_stroke.simulation.scanner import Scanner
from mapping_stroke.simulation.volume import Region, blur


def box_mask(edge_vox: int, y_vox: int) -> RealMask:
    """A cube in the left hemisphere, on a grid of 3 mm."""
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = (-60, -90, -30)
    voxels = np.zeros((40, 50, 40), np.float32)
    voxels[3 : 3 + edge_vox, y_vox : y_vox + edge_vox, 15 : 15 + edge_vox] = 1
    mask = cut_mask(f"cube-{edge_vox}", Image(voxels, affine))
    assert mask is not None
    return mask


MASKS = [box_mask(edge, y) for edge in (3, 6, 12) for y in (10, 22)]


@pytest.mark.parametrize("seed", range(4))
def test_a_drawn_case_is_what_a_network_reads(brain: Brain, allowed: Region, seed: int) -> None:
    case = SimulationBank([Host(brain, allowed)], MASKS, Mix(healthy=0.0, twins=0.0)).draw(np.random.default_rng(seed))
    assert case.scan.dtype == torch.float16
    assert case.case_id.startswith("simulated-")
    inside = case.scan[case.scan != 0].float()
    assert float(inside.mean()) == pytest.approx(0, abs=0.2)
    assert float(inside.std()) == pytest.approx(1, abs=0.15)
    assert len(case.lesion_voxels) == int((case.mask == 1).sum()) > 0
    assert bool((case.mask[tuple(torch.from_numpy(case.lesion_voxels.astype(np.int64)).T)] == 1).all())


def test_the_same_numbers_give_the_same_case_and_the_next_is_another(brain: Brain, allowed: Region) -> None:
    bank = SimulationBank([Host(brain, allowed)], MASKS)
    first, again = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(3):
        one, two = bank.draw(first), bank.draw(again)
        assert torch.equal(one.scan, two.scan)
        assert torch.equal(one.mask, two.mask)
        assert one.case_id == two.case_id
    assert bank.draw(first).case_id != one.case_id


def test_as_many_cases_are_healthy_as_asked(brain: Brain, allowed: Region) -> None:
    rng = np.random.default_rng(0)
    bank = SimulationBank([Host(brain, allowed)], [], Mix(healthy=1.0))
    assert [len(bank.draw(rng).lesion_voxels) for _ in range(3)] == [0, 0, 0]


def test_as_many_cases_lie_freely_as_asked(brain: Brain, allowed: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    placed: list[str] = []
    monkeypatch.setattr(simulated_case, "place_freely", lambda deformation, rng: placed.append("free") or deformation)
    for free, expected in ((0.0, 0), (1.0, 3)):
        placed.clear()
        bank = SimulationBank([Host(brain, allowed)], [], Mix(kinds=(0.0, 1.0, 0.0, 0.0, 0.0), free=free))
        for seed in range(3):
            bank.draw(np.random.default_rng(seed))
        assert len(placed) == expected


def test_one_scanner_takes_all_scans_where_there_is_one(
    brain: Brain, allowed: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "draw_any_scanner", lambda rng: pytest.fail("another scanner was drawn"))
    clear = Scanner(csf=0.2, grey=0.6, bias=0.0, noise=0.0, blur_mm=0.0)
    bank = SimulationBank([Host(brain, allowed)], [], Mix(healthy=1.0), clear)
    noisy = replace(bank, scanner=replace(clear, noise=0.3))
    one, again, other = (given.draw(np.random.default_rng(1)).scan for given in (bank, bank, noisy))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_a_finished_case_equals_a_prepared_scan() -> None:
    rng = np.random.default_rng(0)
    voxels = np.zeros((9, 8, 7), np.float32)
    voxels[2:8, 1:6, 1:7] = rng.uniform(1, 2, (6, 5, 6))
    case = finish_case("c", torch.from_numpy(voxels), torch.from_numpy(voxels > 0).float(), torch.zeros(9, 8, 7) > 0)
    prepared = prepare_scan(Image(voxels, np.eye(4)), PreprocessSpec())
    np.testing.assert_allclose(case.scan.numpy(), prepared.voxels, atol=2e-3)


def test_coarse_voxels_are_means_and_lesion_where_half_of_them_is() -> None:
    rng = np.random.default_rng(0)
    voxels = rng.uniform(1, 2, (6, 4, 5)).astype(np.float32)
    lesion = torch.zeros(6, 4, 5, dtype=torch.bool)
    lesion[0:2, 0:2, 0] = True  # half of the first coarse voxel
    lesion[2:4, 0:2, 0] = True
    lesion[3, 1, 0] = False  # three of eight
    scan, covered = torch.from_numpy(voxels), torch.ones(6, 4, 5)
    fine = finish_case("c", scan, covered, lesion)
    coarse = finish_case("c", scan, covered, lesion, coarsen=2)
    assert coarse.lesion_voxels.tolist() == [[0, 0, 0]]
    assert coarse.scan.shape == coarse.mask.shape == (3, 2, 3)
    np.testing.assert_allclose(coarse.scan[1, 0, 1].float(), fine.scan[2:4, 0:2, 2:4].float().mean(), atol=2e-3)
    np.testing.assert_allclose(coarse.scan[1, 0, 2].float(), fine.scan[2:4, 0:2, 4:].float().sum() / 8, atol=2e-3)


def test_a_coarse_bank_draws_on_fewer_voxels(brain: Brain, allowed: Region) -> None:
    bank = SimulationBank([Host(brain, allowed)], MASKS, Mix(healthy=0.0, twins=0.0))
    fine, coarse = (each.draw(np.random.default_rng(2)) for each in (bank, replace(bank, coarsen=2)))
    assert coarse.scan.shape == tuple(-(-edge // 2) for edge in fine.scan.shape)
    assert coarse.case_id == fine.case_id


def test_lesion_that_cannot_be_seen_is_marked_as_unsure_and_is_no_place_to_centre_on() -> None:
    lesion, unsure = torch.zeros(2, 4, 4, 4, dtype=torch.bool)
    lesion[:, :2, :2] = True
    unsure[:2, :2, :2] = True
    scan, covered = torch.rand(4, 4, 4) + 1, torch.ones(4, 4, 4)
    fine = finish_case("c", scan, covered, lesion, 1, unsure)
    assert fine.mask[:, 0, 0].tolist() == [UNSURE, UNSURE, 1, 1]
    assert fine.lesion_voxels[:, 0].min() == 2
    coarse = finish_case("c", scan, covered, lesion, 2, unsure)
    assert coarse.mask[:, 0, 0].tolist() == [UNSURE, 1]
    assert coarse.lesion_voxels.tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("kind", range(5))
def test_twins_differ_by_the_lesion_alone(brain: Brain, allowed: Region, kind: int) -> None:
    shares = np.eye(5)[kind].tolist()
    clear = Scanner(csf=0.2, grey=0.6, bias=0.05, noise=0.02, blur_mm=0.3)
    bank = SimulationBank([Host(brain, allowed)], MASKS[:1], Mix(drawn=0.0, kinds=tuple(shares), free=0.0), clear)
    case, twin = draw_twins(bank, np.random.default_rng(kind))
    again, _ = draw_twins(bank, np.random.default_rng(kind))
    assert torch.equal(case.scan, again.scan)
    assert case.scan.shape == twin.scan.shape
    assert case.case_id == twin.case_id
    assert int(twin.mask.sum()) == len(twin.lesion_voxels) == 0 < int(case.mask.sum())
    lesion = case.mask.bool()
    assert float((twin.scan.float() - case.scan.float())[lesion].mean()) > 0.1  # darker
    near = blur(lesion.float(), 4.0) > 1e-3
    far = ~near & (twin.scan != 0)
    a, b = case.scan[far].float(), twin.scan[far].float()
    slope = float(((a - a.mean()) * (b - b.mean())).sum() / ((b - b.mean()) ** 2).sum())
    assert float((a - a.mean() - slope * (b - b.mean())).abs().max()) < 0.05  # one noise: z-scores alone differ


def test_a_stream_gives_twins_as_often_as_asked(brain: Brain, allowed: Region) -> None:
    bank = SimulationBank([Host(brain, allowed)], MASKS, Mix(healthy=0.0, twins=1.0))
    for seed in range(3):
        case, twin = bank.draw(np.random.default_rng(seed)), draw_twins(bank, np.random.default_rng(seed))[1]
        assert len(case.lesion_voxels) == 0
        assert torch.equal(case.scan, twin.scan)


def test_smooth_lesions_are_among_the_drawn_ones_of_the_training_only(brain: Brain, allowed: Region) -> None:
    assert TRAINING_MIX.smooth > 0 == COMPARISON_MIX.smooth == HELD_OUT_MIX.smooth
    drawn = {}
    for smooth in (0.0, 1.0):
        bank = SimulationBank([Host(brain, allowed)], [], Mix(healthy=0.0, twins=0.0, smooth=smooth))
        drawn[smooth] = place_lesions(bank, bank.hosts[0], 20_000.0, np.random.default_rng(2))
    assert not torch.equal(drawn[0.0], drawn[1.0])


@pytest.mark.parametrize("mix", [TRAINING_MIX, COMPARISON_MIX, HELD_OUT_MIX])
def test_a_third_of_every_mix_is_healthy(mix: Mix) -> None:
    assert mix.healthy + mix.twins == pytest.approx(1 / 3, abs=0.01)
    assert sum(mix.kinds) == pytest.approx(1)
    assert max(mix.kinds) == mix.kinds[KINDS.index("intracranial")]


def test_a_network_is_trained_on_what_segment_passes_on_and_some_heads() -> None:
    heads = KINDS.index("head")
    assert COMPARISON_MIX.kinds[heads] < TRAINING_MIX.kinds[heads] < HELD_OUT_MIX.kinds[heads]
    assert COMPARISON_MIX.free < TRAINING_MIX.free < HELD_OUT_MIX.free
