from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import Image
from mapping_stroke.inference import ensemble as ensemble_module
from mapping_stroke.inference.engines import LoadedNetwork, choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.openvino_engine import OpenVinoEngine, OpenVinoNetwork
from mapping_stroke.inference.sliding_window import ALL_AXES, WindowConfig
from mapping_stroke.networks.bundle import Bundle, open_bundle, write_bundle
from mapping_stroke.networks.cards import Averaging, BundleCard, BundleMember, MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import build_unet

SPEC = NetworkSpec("plain", (2, 4), (1, 1), 1)


def bundle(
    folder: Path,
    spacings_mm: Sequence[float],
    average: Averaging = "probability",
    mirror_axes: Sequence[tuple[int, ...]] | None = None,
) -> Bundle:
    """A model whose members differ in weights and spacing, and perhaps in how their training mirrored patches."""

    def weights(member: BundleMember) -> Weights:
        network = build_unet(SPEC, seed=member.card.fold)
        return {name: value.detach().numpy() for name, value in network.named_parameters()}

    cards = [
        MemberCard("default", fold, SPEC, PreprocessSpec(spacing_mm), (8, 8, 8), {}, axes)
        for fold, (spacing_mm, axes) in enumerate(
            zip(spacings_mm, mirror_axes or [ALL_AXES] * len(spacings_mm), strict=True)
        )
    ]
    members = tuple(BundleMember(card, f"{card.fold}.safetensors", "") for card in cards)
    return open_bundle(write_bundle(folder / "model.mapping", BundleCard("model", members, average), weights))


def head() -> Image:
    voxels = np.zeros((20, 18, 16), np.float32)
    voxels[2:18, 2:16, 2:14] = np.random.default_rng(0).uniform(1, 2, (16, 14, 12))
    return Image(voxels, np.diag([-1.0, 1, 1, 1]))


@pytest.mark.parametrize("spacings_mm", [(1.0,), (2.0, 2.0), (1.0, 2.0, 1.0)])
def test_the_average_lies_on_the_scans_own_grid_whatever_the_members_spacing(
    spacings_mm: Sequence[float], tmp_path: Path
) -> None:
    ensemble = Ensemble(bundle(tmp_path, spacings_mm), choose_engine("cpu", precision="float32"), WindowConfig())
    prepared = ensemble.prepare(head())
    found = ensemble.predict(prepared)
    each = [
        prepared[member.card.preprocess].restore(ensemble.predict_member(member, prepared))
        for member in ensemble.members
    ]
    assert found.probability.shape == found.agreement.shape == head().shape
    assert found.members == len(spacings_mm)
    np.testing.assert_allclose(found.probability, np.mean(each, axis=0), atol=1e-5)
    assert not found.probability[head().voxels == 0].any()


def test_a_scan_is_prepared_in_the_order_of_the_members(tmp_path: Path) -> None:
    spacings_mm = (3.0, 1.0, 2.0, 1.5, 2.5)
    ensemble = Ensemble(bundle(tmp_path, (*spacings_mm, 1.0)), choose_engine("cpu"), WindowConfig())
    assert [spec.spacing_mm for spec in ensemble.prepare(head())] == list(spacings_mm)


def test_every_engine_gives_the_same(tmp_path: Path) -> None:
    model = bundle(tmp_path, (1.0, 2.0))
    maps = []
    for name in ("torch", "openvino"):
        ensemble = Ensemble(model, choose_engine("cpu", name, "float32"), WindowConfig(mirror=ALL_AXES))
        maps.append(ensemble.predict(ensemble.prepare(head())).probability)
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-5)


@pytest.mark.parametrize("average", ["probability", "logit"])
def test_one_member_is_its_own_average(average: Averaging, tmp_path: Path) -> None:
    model = bundle(tmp_path, (1.0,), average)
    ensemble = Ensemble(model, choose_engine("cpu", precision="float32"), WindowConfig(average=average))
    found = ensemble.predict(ensemble.prepare(head()))
    assert not found.uncertainty.any()
    np.testing.assert_array_equal(found.agreement > 0.5, found.probability > 0.5)


def test_the_shares_of_progress_sum_to_one(tmp_path: Path) -> None:
    ensemble = Ensemble(bundle(tmp_path, (1.0, 2.0)), choose_engine("cpu"), WindowConfig())
    shares: list[float] = []
    ensemble.predict(ensemble.prepare(head()), shares.append)
    assert sum(shares) == pytest.approx(1)


class CountingEngine(OpenVinoEngine):
    """Counts how often a network is loaded."""

    loads = 0

    def load(self, spec: NetworkSpec, read_weights: Callable[[], Weights]) -> OpenVinoNetwork:
        self.loads += 1
        return super().load(spec, read_weights)


@pytest.mark.parametrize(("room_bytes", "loads"), [(10**9, 3), (0, 6)])
def test_networks_stay_loaded_from_scan_to_scan_as_long_as_there_is_room(
    room_bytes: int, loads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble_module, "LOADED_BYTES", room_bytes)
    engine = CountingEngine("float32")
    ensemble = Ensemble(bundle(tmp_path, (1.0, 1.0, 1.0)), engine, WindowConfig())
    maps = [ensemble.predict(ensemble.prepare(head())).probability for _ in range(2)]
    np.testing.assert_array_equal(*maps)
    assert engine.loads == loads


def test_the_work_is_counted_in_floating_point_operations(tmp_path: Path) -> None:
    model, engine = bundle(tmp_path, (1.0, 1.0)), choose_engine("cpu")
    plain, mirrored = (Ensemble(model, engine, WindowConfig(mirror=mirror)) for mirror in ((), ALL_AXES))
    prepared = plain.prepare(head())
    patches = 2 * len(plain.tiling(plain.members[0], prepared).boxes)
    assert plain.flop(prepared) == patches * SPEC.forward_flop((8, 8, 8))
    assert mirrored.flop(prepared) == 8 * plain.flop(prepared)


def test_a_member_is_mirrored_only_as_its_training_was(tmp_path: Path) -> None:
    model, engine = bundle(tmp_path, (1.0, 1.0), mirror_axes=((0,), ())), choose_engine("cpu", precision="float32")
    plain, mirrored = (Ensemble(model, engine, WindowConfig(mirror=mirror)) for mirror in ((), ALL_AXES))
    prepared = plain.prepare(head())
    sides, never = mirrored.members
    assert (plain.mirrorings, mirrored.mirrorings) == ((1, 1), (1, 2))
    assert mirrored.flop(prepared) == 1.5 * plain.flop(prepared)
    maps = [[each.predict_member(member, prepared) for each in (plain, mirrored)] for member in (sides, never)]
    assert not np.allclose(*maps[0])
    np.testing.assert_array_equal(*maps[1])


def test_loaded_networks_offer_what_the_engines_promise(tmp_path: Path) -> None:
    model = bundle(tmp_path, (1.0,))
    for name in ("torch", "openvino"):
        network = choose_engine("cpu", name).load(SPEC, lambda: model.read_weights(model.card.members[0]))
        assert isinstance(network, LoadedNetwork)
