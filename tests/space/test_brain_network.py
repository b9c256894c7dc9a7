"""The networks of deepbet, rebuilt: the same numbers as its own, from its own weights, and no others."""

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.errors import ConfigError, ResourceError
from mapping_stroke.images.image import Image, reorient
from mapping_stroke.inference import cost as memory
from mapping_stroke.inference.openvino_graph import instance_norm
from mapping_stroke.inference.openvino_import import ops, ov
from mapping_stroke.space import brain_network
from mapping_stroke.space.brain_network import (
    brain_logits,
    build_graph,
    extract_brain,
    fill_holes,
    find_weights,
    largest_region,
)
from moved_heads import move, moved_scan

EDGE_VOX = 64


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
@pytest.mark.parametrize("name", ["box", "brain"])
def test_the_graph_computes_the_logits_of_the_torchscript_network(name: brain_network.NetworkName) -> None:
    import torch

    cube = np.random.default_rng(0).normal(0.449, 0.226, (1, 1, *[EDGE_VOX] * 3)).astype(np.float32)
    compiled = ov.Core().compile_model(
        build_graph(find_weights(name), EDGE_VOX), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (logits,) = compiled([cube]).values()
    with torch.no_grad():
        probability = torch.jit.load(str(find_weights(name))).eval()(torch.from_numpy(cube))[:, 1:].numpy()
    np.testing.assert_allclose(1 / (1 + np.exp(-logits)), probability, atol=2e-3)


def test_threads_get_what_each_would_get_alone() -> None:
    rng = np.random.default_rng(0)
    cubes = [rng.normal(0.449, 0.226, [brain_network.EDGES_VOX["box"]] * 3).astype(np.float32) for _ in range(2)]
    alone = [brain_logits("box", cube) for cube in cubes]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: brain_logits("box", cubes[number % 2]), range(8)))
    for number, logits in enumerate(together):
        np.testing.assert_array_equal(logits, alone[number % 2])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
@pytest.mark.parametrize("stripped", [True, False])
def test_masks_are_those_of_deepbet(*, stripped: bool) -> None:
    import nibabel as nib

    bet = pytest.importorskip("deepbet.bet", exc_type=ImportError)
    scan = moved_scan(move((5, -4, 6), (10, -10, 5)), stripped=stripped, axes="LSA")
    theirs = bet.BrainExtraction(no_gpu=True).run(nib.Nifti1Image(scan.voxels, scan.affine))[1].get_fdata() > 0.5
    ours = extract_brain(scan)
    assert 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()) > 0.9999


def test_a_mask_does_not_depend_on_how_the_axes_are_stored() -> None:
    scan = moved_scan(move((5, -4, 6), (10, -10, 5)))
    turned = reorient(scan, "PIL")
    mask = reorient(Image(extract_brain(turned).astype(np.float32), turned.affine), "RAS").voxels > 0.5
    np.testing.assert_array_equal(mask, extract_brain(scan))


def test_a_small_head_in_a_large_volume_is_found() -> None:
    scan = moved_scan(move((0, 0, 0), (0, 0, 0)))
    padded = Image(np.pad(scan.voxels, 120), scan.affine)
    found = extract_brain(padded)
    assert found[120:-120, 120:-120, 120:-120].sum() == found.sum() > 0
    alone = extract_brain(scan)
    inner = found[120:-120, 120:-120, 120:-120]
    assert 2 * (inner & alone).sum() / (inner.sum() + alone.sum()) > 0.95


def test_an_even_volume_shows_no_brain() -> None:
    assert not extract_brain(Image(np.full((20, 30, 20), 7, np.float32), np.eye(4))).any()


def test_the_largest_region_stays_and_holes_are_filled() -> None:
    mask = np.zeros((7, 7, 7), np.bool_)
    mask[1:5, 1:5, 1:5] = True
    ball = mask.copy()
    mask[3, 3, 3] = False  # enclosed
    mask[6, 6, 6] = True  # apart
    np.testing.assert_array_equal(fill_holes(largest_region(mask)), ball)
    assert not fill_holes(largest_region(np.zeros_like(mask))).any()


@pytest.mark.parametrize("shape", [(4, 6, 2), (17, 5, 1), (32, 48, 40)])
def test_channels_are_normalised_whatever_their_shape(shape: tuple[int, int, int]) -> None:
    values = np.random.default_rng(0).normal(3, 2, (1, 2, *shape)).astype(np.float32)
    node = ops.parameter([1, 2, *shape], np.float32)
    (normalised,) = (
        ov.Core()
        .compile_model(ov.Model([instance_norm(node)], [node]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([values])
        .values()
    )
    mean, variance = (
        function(values, axis=(2, 3, 4), keepdims=True, dtype=np.float64) for function in (np.mean, np.var)
    )
    np.testing.assert_allclose(normalised, (values - mean) / np.sqrt(variance + 1e-5), atol=2e-5)


def test_another_version_of_the_weights_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.pt").write_bytes(b"other")

    class Installed:
        def locate_file(self, name: str) -> Path:
            return tmp_path / "other.pt"

    monkeypatch.setattr(brain_network, "distribution", lambda name: Installed())
    with pytest.raises(
        ConfigError, match=r"other\.pt: is not the file of deepbet 1\.0\.2 .*pip install deepbet==1\.0\.2"
    ):
        find_weights("brain")


def test_without_deepbet_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(brain_network, "distribution", missing)
    with pytest.raises(ConfigError, match="needs the package deepbet, which is not installed; run `pip install"):
        find_weights("box")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(find_weights("brain").read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be read"):
        build_graph(tmp_path / "model.pt", EDGE_VOX)


def test_too_little_memory_is_told_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda: 1e8)
    with pytest.raises(ResourceError, match=r"brain extraction needs about 0.5 GB of memory .* --brain"):
        extract_brain(moved_scan(move((5, -4, 6), (10, -10, 5))))
