import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import distance_transform_edt

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.training.mixing import carve_into, carve_mix, draw_level, signed_distance

LEVELS = st.floats(-0.5, 1)


def make_case(name: str, mask: np.ndarray, value: float | None = None) -> CaseArrays:
    """A case of one value, or of noise."""
    noise = torch.randn(mask.shape, generator=torch.Generator().manual_seed(len(name)))
    scan = (noise if value is None else torch.full(mask.shape, value)).half()
    return CaseArrays(name, scan, torch.from_numpy(mask.astype(np.uint8)), np.argwhere(mask).astype(np.int16))


def blocks(shape: tuple[int, int, int], *boxes: tuple[slice, slice, slice]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    for box in boxes:
        mask[box] = True
    return mask


CUBE = (slice(3, 6), slice(3, 6), slice(3, 6))
DONOR = make_case("donor", blocks((9, 9, 9), CUBE))
HOST = make_case("hosts", blocks((9, 9, 9), (slice(0, 1), slice(0, 9), slice(0, 9))))
EMPTY = make_case("empty", np.zeros((9, 9, 9), bool))


def region(level: float, donor: CaseArrays = DONOR) -> np.ndarray:
    """Where a host of zeros takes the values of a donor of ones."""
    shape = tuple(donor.mask.shape)
    zeros, ones = make_case("0", np.zeros(shape, bool), 0.0), make_case("11", donor.mask.numpy() > 0, 1.0)
    return carve_mix(zeros, ones, level).scan.numpy() > 0


@given(arrays(bool, st.tuples(*[st.integers(2, 7)] * 3)).filter(lambda mask: mask.any() and not mask.all()))
def test_the_distance_is_that_of_scipy_less_half_a_voxel(mask: np.ndarray) -> None:
    expected = np.where(mask, 0.5 - distance_transform_edt(mask), distance_transform_edt(~mask) - 0.5)
    np.testing.assert_allclose(signed_distance(torch.from_numpy(mask), 7).numpy(), expected, atol=1e-5)


def test_distances_within_reach_are_exact() -> None:
    mask = blocks((15, 15, 15), (slice(7, 8), slice(7, 8), slice(7, 8)))
    near = signed_distance(torch.from_numpy(mask), 3).numpy()
    expected = distance_transform_edt(~mask) - 0.5
    np.testing.assert_allclose(near[expected <= 2.5], np.where(mask, -0.5, expected)[expected <= 2.5], atol=1e-6)
    assert (near[expected > 2.5] > 2.5).all()


@pytest.mark.parametrize(
    ("level", "voxels"),
    [
        (-0.5, 1),  # depth 1.5: at most -0.75, the middle alone
        (-0.3, 27),  # at most -0.45: the lesion
        (0.0, 27),
        (0.3, 27),  # at most 0.45: its neighbours begin at 0.5
        (0.4, 27 + 6 * 9),  # at most 0.6: those that share a face
        (1.0, 27 + 6 * 9 * 2 + 12 * 3 + 8),  # at most 1.5, two voxels: two layers, and what lies diagonal to the edges
    ],
)
def test_the_region_is_the_lesion_or_less_or_more(level: float, voxels: int) -> None:
    assert int(region(level).sum()) == voxels


@given(arrays(bool, (8, 7, 6)).filter(lambda mask: mask.any()), LEVELS)
def test_the_region_is_the_level_set_of_the_whole_volume(mask: np.ndarray, level: float) -> None:
    wide = np.pad(mask, 8)
    distance = np.where(wide, 0.5 - distance_transform_edt(wide), distance_transform_edt(~wide) - 0.5)
    expected = distance.astype(np.float32) <= np.float32(level * -np.float32(distance.min()))
    near_the_level = np.abs(distance - level * -distance.min()) < 1e-5
    found = region(level, make_case("d", mask))
    inside = (slice(8, -8),) * 3
    np.testing.assert_array_equal(found | near_the_level[inside], (expected | near_the_level)[inside])


@given(arrays(bool, (6, 7, 8)), arrays(bool, (6, 7, 8)).filter(lambda mask: mask.any()), LEVELS)
def test_inside_the_region_all_is_the_donors_and_outside_the_hosts(
    hosts: np.ndarray, donors: np.ndarray, level: float
) -> None:
    host, donor = make_case("a", hosts), make_case("bb", donors)
    before = host.scan.clone(), host.mask.clone()
    mixed, carved = carve_mix(host, donor, level), torch.from_numpy(region(level, donor))
    assert torch.equal(mixed.scan, torch.where(carved, donor.scan, host.scan))
    assert torch.equal(mixed.mask, torch.where(carved, donor.mask, host.mask))
    np.testing.assert_array_equal(mixed.lesion_voxels, np.argwhere(mixed.mask.numpy()))
    assert carved.any()
    assert torch.equal(host.scan, before[0])
    assert torch.equal(host.mask, before[1])
    assert (mixed.case_id, mixed.scan.dtype, mixed.mask.dtype) == ("a+bb", torch.float16, torch.uint8)


def test_a_lesion_of_one_voxel_is_carved_at_every_level() -> None:
    one = make_case("d", blocks((5, 5, 5), (slice(2, 3), slice(2, 3), slice(2, 3))))
    assert [int(region(level, one).sum()) for level in (-0.5, 0.0, 0.99)] == [1, 1, 1]


def test_in_a_larger_head_the_lesion_keeps_its_place_from_the_middle() -> None:
    host = make_case("host", np.zeros((13, 11, 9), bool))
    mixed = carve_mix(host, DONOR, 0.0)
    assert np.argwhere(mixed.mask.numpy()).mean(axis=0).tolist() == [6, 5, 4]
    assert torch.equal(mixed.scan[5:8, 4:7, 3:6], DONOR.scan[CUBE])


def test_what_lands_outside_the_host_is_lost() -> None:
    corner = make_case("d", blocks((9, 9, 9), (slice(0, 3), slice(0, 3), slice(0, 3))))
    mixed = carve_mix(make_case("host", np.zeros((5, 5, 5), bool)), corner, 0.0)
    assert np.argwhere(mixed.mask.numpy()).tolist() == [[0, 0, 0]]
    none = carve_mix(make_case("host", np.zeros((2, 2, 2), bool)), corner, 0.0)
    assert not none.mask.any()
    assert none.lesion_voxels.shape == (0, 3)


def test_a_donor_without_lesion_or_the_host_itself_leaves_the_host_alone() -> None:
    rng = np.random.default_rng(0)
    for others in ([EMPTY], [HOST]):
        assert all(carve_into(HOST, others, 1.0, rng) is HOST for _ in range(20))


def test_cases_are_carved_as_often_as_said_and_the_same_from_the_same_seed() -> None:
    draws = [
        [carve_into(EMPTY, [DONOR, HOST], 0.5, rng) for _ in range(400)]
        for rng in (np.random.default_rng(3), np.random.default_rng(3))
    ]
    carved = [case for case in draws[0] if case is not EMPTY]
    assert len(carved) / 400 == pytest.approx(0.5, abs=0.08)
    assert {case.case_id for case in carved} == {"empty+donor", "empty+hosts"}
    for first, second in zip(*draws, strict=True):
        assert torch.equal(first.scan, second.scan)


def test_half_the_levels_are_less_than_the_lesion_and_half_more() -> None:
    rng = np.random.default_rng(0)
    levels = np.array([draw_level(rng) for _ in range(4000)])
    assert np.mean(levels < 0) == pytest.approx(0.5, abs=0.03)
    assert (levels.min(), levels.max()) == (pytest.approx(-0.5, abs=0.01), pytest.approx(1, abs=0.01))
    assert levels[levels < 0].mean() == pytest.approx(-0.25, abs=0.02)
    assert levels[levels > 0].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.gpu
def test_a_gpu_carves_what_the_processor_carves() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gpu = torch.device("cuda")
    for level in (-0.4, 0.0, 0.7):
        here, there = carve_mix(HOST, DONOR, level), carve_mix(HOST.to(gpu), DONOR.to(gpu), level)
        assert there.scan.device.type == "cuda"
        assert torch.equal(here.scan, there.scan.cpu())
        assert torch.equal(here.mask, there.mask.cpu())
        np.testing.assert_array_equal(here.lesion_voxels, there.lesion_voxels)
