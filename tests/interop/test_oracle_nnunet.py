"""Full-size networks against the real nnU-Net: the same logits, the same prepared scan, the same segmentation.

They need the programs themselves, in `.oracles` at the root of the checkout (`make oracles`).
"""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_scan
from mapping_stroke.images.image import Image, read_image, write_image
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.segmentation import Segmentation, make_ensemble, make_segmentation
from mapping_stroke.interop.nnunet import read_nnunet
from mapping_stroke.interop.nnunet_common import ImportedModel
from mapping_stroke.interop.nnunet_export import write_nnunet_v2
from mapping_stroke.networks.bundle import open_bundle, write_bundle
from mapping_stroke.networks.cards import BundleCard, BundleMember, MemberCard
from mapping_stroke.networks.spec import NetworkSpec, Weights
from mapping_stroke.networks.unet import build_unet, load_unet
from mapping_stroke.rules import find_rule

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".oracles" / "bin" / "python"
PATCH = (64, 64, 64)
RESIDUAL = NetworkSpec("residual", (24, 48, 96, 192, 320, 320), (1, 2, 3, 4, 4, 4), 1, conv_bias=False)
NO_HASH = "0" * 64


@pytest.fixture(autouse=True)
def oracle() -> None:
    if not PYTHON.exists():
        pytest.skip("no .oracles with the real nnU-Net at the root of the checkout; `make oracles` makes it")


def run_oracle(*arguments: object, out: Path) -> dict[str, np.ndarray]:
    script = Path(__file__).with_name("oracle_nnunet.py")
    command = [str(argument) for argument in (PYTHON, script, *arguments, out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out.parent)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with np.load(out) as arrays:
        return {name: arrays[name].T if arrays[name].ndim == 3 else arrays[name] for name in arrays}


def write_scan(path: Path, spacing_mm: tuple[float, float, float], leftward: bool = False) -> Path:
    """A smooth head of 72 x 90 x 66 mm with a hole inside it, in a margin of zeros, oblique to no axis."""
    shape = [round(edge / spacing) + 8 for edge, spacing in zip((72, 90, 66), spacing_mm, strict=True)]
    rng = np.random.default_rng(5)
    axes = np.meshgrid(*(np.linspace(-1.12, 1.12, edge) for edge in shape), indexing="ij")
    radius = np.sqrt(sum(axis**2 for axis in axes))
    voxels = 100 + 400 * ndimage.gaussian_filter(rng.normal(size=shape), 2)
    voxels[(radius > 1) | (radius < 0.1)] = 0
    affine = np.diag([*spacing_mm, 1.0])
    if leftward:
        affine = affine @ np.array([[0, 0, -1, 60], [0, 1, 0, -40], [-1, 0, 0, 30], [0, 0, 0, 1.0]])
    write_image(path, voxels.astype(np.float32), affine)
    return path


def random_weights(spec: NetworkSpec, seed: int = 3) -> Weights:
    """A network whose every number is random, with logits of a few units."""
    network = build_unet(spec, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim == 1:
                parameter.normal_(1.0 if "norm.weight" in name else 0.0, 0.3, generator=generator)
    return {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}


def segment(model: ImportedModel, scan: Image, folder: Path) -> Segmentation:
    """As a user does: import into a bundle, then segment, here in float32 and without post-processing."""
    members = tuple(BundleMember(card, f"w{number}", NO_HASH) for number, card in enumerate(model.members))
    card = BundleCard("oracle", members, model.average)
    path = write_bundle(folder, card, lambda member: model.weights(int(member.weights[1:])))
    ensemble = make_ensemble(open_bundle(path), "balanced", choose_engine("cpu", "torch", "float32"))
    return make_segmentation(scan, ensemble.predict(ensemble.prepare(scan)), find_rule("none"))


def require_same_network(model: ImportedModel, real: dict[str, np.ndarray]) -> None:
    network = load_unet(model.members[0].network, model.weights(0))
    with torch.no_grad():
        found = network(torch.from_numpy(np.ascontiguousarray(real["patch"]))[None, None])[0].numpy()
    expected = real["logits"].transpose(0, 3, 2, 1)
    assert np.abs(expected).std() > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def require_same_segmentation(ours: Segmentation, probability: np.ndarray, largest: float) -> None:
    """The same probability within rounding, and so the same mask but for voxels that lie on the threshold."""
    assert np.abs(ours.probability - probability).max() < largest
    theirs = probability > 0.5
    assert 0.02 < theirs.mean() < 0.98
    assert 2 * (ours.mask & theirs).sum() / (ours.mask.sum() + theirs.sum()) > 0.9995


@pytest.mark.parametrize("trainer", ["nnUNetTrainerV2", "nnUNetTrainerV2_ResencUNet_DA3"])
def test_an_imported_v1_model_segments_as_v1_does(tmp_path: Path, trainer: str) -> None:
    scan = write_scan(tmp_path / "case_0000.nii.gz", (1.0, 1.0, 1.0))
    folder = tmp_path / "Task102" / f"{trainer}__nnUNetPlansv2.1"
    real = run_oracle("v1", trainer, folder, scan, out=tmp_path / "real.npz")
    model = read_nnunet(folder)
    require_same_network(model, real)
    prepared = prepare_scan(read_image(scan), model.members[0].preprocess)
    np.testing.assert_allclose(prepared.voxels, real["prepared"], atol=1e-4)
    require_same_segmentation(segment(model, read_image(scan), tmp_path / "bundle"), real["probability"], 1e-4)


@pytest.mark.parametrize(
    ("network", "spacing_mm", "normalise"),
    [
        (NetworkSpec(), (1.0, 1.0, 1.0), "brain"),
        (RESIDUAL, (1.0, 1.0, 1.0), "box"),
        (RESIDUAL, (1.25, 0.9, 1.1), "brain"),
    ],
)
def test_an_exported_model_segments_in_v2_as_here_and_comes_back_unchanged(
    tmp_path: Path, network: NetworkSpec, spacing_mm: tuple[float, float, float], normalise: str
) -> None:
    weights, preprocess = random_weights(network), PreprocessSpec(1.0, normalise, "cubic")
    card = BundleCard("Oracle", (BundleMember(MemberCard("mine", 1, network, preprocess, PATCH, {}), "w", NO_HASH),))
    (folder,) = write_nnunet_v2(card, lambda _: weights, tmp_path)
    scan = write_scan(tmp_path / "case_0000.nii.gz", spacing_mm, leftward=True)
    real = run_oracle("v2", folder, scan, out=tmp_path / "real.npz")
    model = read_nnunet(folder, scheme="mine")
    for name, array in model.weights(0).items():
        np.testing.assert_array_equal(array, weights[name])
    filled = replace(network, kernels=network.stage_kernels, strides=network.stage_strides)
    assert (model.members[0].network, model.members[0].preprocess) == (filled, preprocess)
    require_same_network(model, real)
    prepared = prepare_scan(read_image(scan), model.members[0].preprocess)
    np.testing.assert_allclose(prepared.voxels, real["prepared"], atol=1e-4)
    ours = segment(model, read_image(scan), tmp_path / "bundle")
    to_file = [real[name].transpose(2, 1, 0)[::-1, :, ::-1] for name in ("exact", "probability")]
    require_same_segmentation(ours, to_file[0], 1e-4)
    assert 2 * (ours.mask & (to_file[1] > 0.5)).sum() / (ours.mask.sum() + (to_file[1] > 0.5).sum()) > 0.995


def test_the_command_nnunetv2_predict_runs_an_exported_model(tmp_path: Path) -> None:
    network, preprocess = NetworkSpec("plain", (4, 8, 16), (2, 2, 2)), PreprocessSpec(1.0, "brain", "cubic")
    cards = [MemberCard("mine", fold, network, preprocess, (32, 32, 32), {}) for fold in (0, 1)]
    card = BundleCard("Oracle", tuple(BundleMember(member, f"w{member.fold}", NO_HASH) for member in cards), "logit")
    (folder,) = write_nnunet_v2(card, lambda member: random_weights(network, 10 + member.card.fold), tmp_path)
    scan = write_scan(tmp_path / "scans" / "case_0000.nii.gz", (1.0, 1.0, 1.0), leftward=True)
    command = f"nnUNetv2_predict -d Dataset900_Oracle -p MappingMinePlans -c 3d_fullres -f 0 1 -i {scan.parent}"
    folders = {f"nnUNet_{what}": str(tmp_path) for what in ("results", "raw", "preprocessed")}
    done = subprocess.run(
        [str(PYTHON.with_name(command.split()[0])), *command.split()[1:], "-o", str(tmp_path / "out"),
         "-device", "cpu", "--disable_tta", "-npp", "1", "-nps", "1"],
        capture_output=True, text=True, check=False, env=folders,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    theirs = read_image(tmp_path / "out" / "case.nii.gz").voxels > 0
    ours = segment(read_nnunet(folder), read_image(scan), tmp_path / "bundle")
    assert 0.02 < theirs.mean() < 0.98
    assert 2 * (ours.mask & theirs).sum() / (ours.mask.sum() + theirs.sum()) > 0.995
