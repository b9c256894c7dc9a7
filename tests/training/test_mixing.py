import numpy as np
import pytest
import torch

from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import ConfigError
from mapping_stroke.training.batches import Randomness, draw_batch
from mapping_stroke.training.schemes import CARVEMIX, DEFAULT, MIXINGS, MIXUP, NO_MIXING, NONE, Mixing

CPU = torch.device("cpu")
EVERY = Mixing("every", carve_probability=1.0)


def make_case(name: str, value: float, *, with_lesion: bool) -> CaseArrays:
    mask = torch.zeros(12, 12, 12, dtype=torch.uint8)
    if with_lesion:
        mask[4:8, 4:8, 4:8] = 1
    return CaseArrays(name, torch.full((12, 12, 12), value).half(), mask, np.argwhere(mask.numpy()).astype(np.int16))


HEALTHY, ILL = make_case("healthy", 1.0, with_lesion=False), make_case("ill", 2.0, with_lesion=True)


def test_the_paper_mixes_nothing() -> None:
    assert (NO_MIXING.carve_probability, NO_MIXING.blend_alpha) == (0, 0)
    assert list(MIXINGS) == ["none", "carvemix", "mixup"]


def test_a_carved_patch_takes_lesion_and_intensities_from_the_same_case() -> None:
    random, seen = Randomness.from_seed((0,), CPU), set()
    for _ in range(60):
        batch = draw_batch([HEALTHY, ILL], (8, 8, 8), 2, NONE, random, EVERY)
        assert set(batch.scan.unique().tolist()) <= {1.0, 2.0}
        assert (batch.scan[:, 0][batch.target == 1] == 2).all()
        seen |= set(batch.case_ids)
        for name, scan in zip(batch.case_ids, batch.scan, strict=True):
            if "+" not in name:  # left alone
                assert (scan == (1 if name == "healthy" else 2)).all()
    assert {"healthy", "ill", "healthy+ill"} == seen


def test_the_patch_on_a_lesion_may_be_centred_on_a_carved_one() -> None:
    random = Randomness.from_seed((1,), CPU)
    batches = [draw_batch([HEALTHY, ILL], (4, 4, 4), 2, NONE, random, EVERY) for _ in range(40)]
    carved = [batch for batch in batches if batch.case_ids[1] == "healthy+ill"]
    assert carved
    assert all(int(batch.target[1, 2, 2, 2]) == 1 for batch in carved)


@pytest.mark.parametrize("mixing", [EVERY, CARVEMIX])
def test_cases_without_lesion_are_left_alone(mixing: Mixing) -> None:
    other = make_case("other", 3.0, with_lesion=False)
    random = Randomness.from_seed((0,), CPU)
    for _ in range(20):
        batch = draw_batch([HEALTHY, other], (4, 4, 4), 2, NONE, random, mixing)
        assert set(batch.case_ids) <= {"healthy", "other"}
        assert not batch.target.any()
        assert all(len(scan.unique()) == 1 for scan in batch.scan)


def test_a_blended_batch_holds_both_patches_and_both_references() -> None:
    batch = draw_batch([HEALTHY, ILL], (6, 6, 6), 2, NONE, Randomness.from_seed((4,), CPU), MIXUP)
    plain = draw_batch([HEALTHY, ILL], (6, 6, 6), 2, NONE, Randomness.from_seed((4,), CPU))
    assert batch.blend is not None
    torch.testing.assert_close(batch.scan, torch.lerp(plain.scan, plain.scan.flip(0), batch.blend.share))
    assert torch.equal(batch.target, plain.target)
    assert torch.equal(batch.blend.target, plain.target.flip(0))
    assert plain.blend is None


@pytest.mark.parametrize("mixing", MIXINGS.values(), ids=lambda mixing: mixing.name)
def test_the_same_seed_mixes_the_same(mixing: Mixing) -> None:
    first, second, other = (
        draw_batch([HEALTHY, ILL], (8, 8, 8), 4, DEFAULT, Randomness.from_seed(seed, CPU), mixing)
        for seed in ((2,), (2,), (3,))
    )
    assert torch.equal(first.scan, second.scan)
    assert torch.equal(first.target, second.target)
    assert first.case_ids == second.case_ids
    assert not torch.equal(first.scan, other.scan)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"carve_probability": 1.5}, "mixing new: carve_probability is 1.5, expected 0 to 1"),
        ({"blend_alpha": -1}, "mixing new: blend_alpha is -1, expected 0 or more"),
    ],
)
def test_impossible_mixings_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixing("new", **values)


@pytest.mark.gpu
@pytest.mark.parametrize("mixing", [EVERY, MIXUP], ids=lambda mixing: mixing.name)
def test_mixing_stays_on_the_gpu(mixing: Mixing) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    gpu = torch.device("cuda")
    cases = [HEALTHY.to(gpu), ILL.to(gpu)]
    batch = draw_batch(cases, (8, 8, 8), 2, DEFAULT, Randomness.from_seed((0,), gpu), mixing)
    assert (batch.scan.device.type, batch.target.device.type) == ("cuda", "cuda")
