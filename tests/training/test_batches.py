import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.training.batches import Randomness, Share, draw_batch
from mapping_stroke.training.schemes import DEFAULT, MIXINGS, NONE, SIDES, STRONG, Mixing

CPU = torch.device("cpu")


def make_arrays(name: str, *, with_lesion: bool = True) -> CaseArrays:
    scan = torch.randn(20, 20, 20, generator=torch.Generator().manual_seed(len(name))).half()
    mask = torch.zeros(20, 20, 20, dtype=torch.uint8)
    if with_lesion:
        mask[15, 15, 15] = 1
    return CaseArrays(name, scan, mask, np.argwhere(mask.numpy()).astype(np.int16))


def test_one_of_two_patches_is_centred_on_a_lesion() -> None:
    random = Randomness.from_seed((0,), CPU)
    for _ in range(20):
        batch = draw_batch([make_arrays("a")], (4, 4, 4), 2, NONE, random)
        assert batch.scan.shape == (2, 1, 4, 4, 4)
        assert int(batch.target[1, 2, 2, 2]) == 1


def test_patches_anywhere_mostly_miss_a_small_lesion() -> None:
    random = Randomness.from_seed((0,), CPU)
    hits = [bool(draw_batch([make_arrays("a")], (4, 4, 4), 2, NONE, random).target[0].any()) for _ in range(60)]
    assert np.mean(hits) < 0.2


def test_a_case_without_lesion_gives_patches() -> None:
    batch = draw_batch([make_arrays("a", with_lesion=False)], (4, 4, 4), 2, NONE, Randomness.from_seed((0,), CPU))
    assert not batch.target.any()
    assert batch.case_ids == ("a", "a")


def test_the_same_seed_draws_the_same_batch_and_another_seed_another() -> None:
    cases = [make_arrays("a"), make_arrays("bb")]
    first, second, other = (
        draw_batch(cases, (8, 8, 8), 4, DEFAULT, Randomness.from_seed(seed, CPU)) for seed in ((1, 2), (1, 2), (2, 1))
    )
    assert torch.equal(first.scan, second.scan)
    assert first.case_ids == second.case_ids
    assert not torch.equal(first.scan, other.scan)


def test_sides_swaps_left_and_right_in_half_of_the_patches_and_no_other_axis() -> None:
    case, random = make_arrays("a"), Randomness.from_seed((0,), CPU)
    whole = case.scan.float()
    drawn = [draw_batch([case], (20, 20, 20), 1, SIDES, random).scan[0, 0] for _ in range(60)]
    swapped = [torch.equal(patch, whole.flip(0)) for patch in drawn]
    assert all(swap or torch.equal(patch, whole) for swap, patch in zip(swapped, drawn, strict=True))
    assert 15 < sum(swapped) < 45


def test_every_case_is_drawn() -> None:
    cases = [make_arrays(name) for name in ("a", "bb", "ccc")]
    random = Randomness.from_seed((0,), CPU)
    seen = {name for _ in range(30) for name in draw_batch(cases, (4, 4, 4), 2, NONE, random).case_ids}
    assert seen == {"a", "bb", "ccc"}


@pytest.mark.parametrize("mixing", MIXINGS.values(), ids=MIXINGS)
@pytest.mark.parametrize("processes", [2, 4])
def test_the_shares_of_a_batch_are_the_batch(processes: int, mixing: Mixing) -> None:
    cases = [make_arrays(name) for name in ("a", "bb", "ccc")]
    randoms = [Randomness.from_seed((3,), CPU) for _ in range(processes + 1)]
    for _ in range(3):
        whole = draw_batch(cases, (8, 8, 8), 4, STRONG, randoms[-1], mixing)
        shares = [
            draw_batch(cases, (8, 8, 8), Share(4, process, processes), STRONG, randoms[process], mixing)
            for process in range(processes)
        ]
        assert torch.equal(torch.cat([share.scan for share in shares]), whole.scan)
        assert torch.equal(torch.cat([share.target for share in shares]), whole.target)
        assert sum((share.case_ids for share in shares), ()) == whole.case_ids
        if whole.blend is not None:
            blends = [share.blend for share in shares if share.blend is not None]
            assert torch.equal(torch.cat([blend.target for blend in blends]), whole.blend.target)
            assert {blend.share for blend in blends} == {whole.blend.share}
