import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.errors import BundleError, ConfigError
from mapping_stroke.image import Image
from mapping_stroke.inference.ensemble import average, choose_device, predict_members
from mapping_stroke.inference.sliding_window import WindowConfig
from mapping_stroke.networks.bundle import Member, MemberCard
from mapping_stroke.networks.spec import NetworkSpec
from mapping_stroke.networks.unet import build_unet, set_deep_supervision

MAPS = st.lists(arrays(np.float32, (2, 2, 2), elements=st.floats(0, 1, width=32)), min_size=1, max_size=5)


def member(seed: int, spacing_mm: float = 1.0) -> Member:
    spec = NetworkSpec("plain", (2, 4), (1, 1), 1)
    network = build_unet(spec, seed=seed).eval()
    set_deep_supervision(network, enabled=False)
    return Member(MemberCard("default", 0, spec, PreprocessSpec(spacing_mm), (8, 8, 8), {}), network, "")


@given(MAPS)
def test_the_average_is_mean_and_spread(maps: list[np.ndarray]) -> None:
    found = average(maps)
    np.testing.assert_allclose(found.probability, np.mean(maps, axis=0), atol=1e-6)
    np.testing.assert_allclose(found.uncertainty, np.std(np.float64(maps), axis=0), atol=1e-6)
    assert found.members == len(maps)


@given(MAPS)
def test_the_order_of_members_changes_nothing(maps: list[np.ndarray]) -> None:
    np.testing.assert_allclose(average(maps).probability, average(maps[::-1]).probability, atol=1e-6)


def test_one_member_is_certain() -> None:
    assert not average([np.full((1, 1, 1), 0.3, np.float32)]).uncertainty.any()


def test_no_member_is_refused() -> None:
    with pytest.raises(BundleError, match="at least one member"):
        average([])


def test_members_answer_on_the_scans_own_grid_whatever_their_spacing() -> None:
    voxels = np.zeros((20, 18, 16), np.float32)
    voxels[2:18, 2:16, 2:14] = np.random.default_rng(0).uniform(1, 2, (16, 14, 12))
    scan = Image(voxels, np.diag([-1.0, 1, 1, 1]))
    maps = list(predict_members([member(0), member(1, 2.0), member(2)], scan, WindowConfig(), torch.device("cpu")))
    assert [probability.shape for probability in maps] == [scan.shape] * 3
    for probability in maps:
        assert not probability[0].any()
        assert 0 <= probability.min() <= probability.max() <= 1
    assert not np.array_equal(maps[0], maps[2])


def test_a_device_is_chosen_by_name_or_by_what_is_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no device 'abacus' on this machine; expected auto or one of .*cpu"):
        choose_device("abacus")
