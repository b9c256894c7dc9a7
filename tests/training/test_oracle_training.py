"""Training against the real nnU-Net itself: the same fresh weights, and many draws of augmentation and of patches.

It needs the programs themselves, in `.oracles` at the root of the checkout (`make oracles`).
"""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from mapping_stroke.networks.unet import build_unet
from mapping_stroke.training.schemes import AUGMENTATIONS, SIZES
from our_training import Arrays, effects_of, our_effect, our_mirror_share, our_patches, our_warps
from training_agreement import require_same_distribution, require_same_share, require_same_warps

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".oracles" / "bin" / "python"
DRAWS = 10000


def run_oracle(script: str, *arguments: object, folder: Path) -> Arrays:
    if not PYTHON.exists():
        pytest.skip("no .oracles with the real nnU-Net at the root of the checkout; `make oracles` makes it")
    part, *rest = (str(argument) for argument in arguments)
    done = subprocess.run(
        [str(PYTHON), str(Path(__file__).with_name(script)), part, *rest],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "tests" / "helpers"), "OMP_NUM_THREADS": "1"}
        | {f"nnUNet_{what}": str(folder) for what in ("results", "raw", "preprocessed")},
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    with np.load(folder / "out.npz") as arrays:
        return dict(arrays)


def test_full_size_networks_of_one_seed_are_born_with_the_same_weights(tmp_path: Path) -> None:
    real = run_oracle("oracle_training.py", "weights", "out.npz", folder=tmp_path)
    for kind, spec in (("plain", SIZES["full"].plain), ("residual", SIZES["full"].residual)):
        for name, parameter in build_unet(spec, seed=5).named_parameters():
            np.testing.assert_array_equal(parameter.detach().numpy(), real.pop(f"{kind}_{name}"), err_msg=name)
    assert not real


def test_ten_thousand_draws_of_every_augmentation_are_distributed_alike(tmp_path: Path) -> None:
    real = run_oracle("oracle_augmentation.py", "out.npz", DRAWS, 11, DRAWS, folder=tmp_path)
    for name in ("default", "strong"):
        augmentation = AUGMENTATIONS[name]
        for effect in effects_of(real, name):
            share, strengths = our_effect(augmentation, effect, DRAWS, 1000)
            require_same_share(share, DRAWS, real[f"{name}_{effect}_share"])
            if (name, effect) != ("strong", "low_resolution"):
                require_same_distribution(strengths, real[f"{name}_{effect}"], f"{name}: {effect}")
        require_same_share(our_mirror_share(augmentation, DRAWS), DRAWS, real[f"{name}_mirror_share"])
        theirs = {key: real[f"{name}_{key}"] for key in ("matrices_e4", "elastic", "elastic_share")}
        require_same_warps(our_warps(augmentation, 12, DRAWS), theirs)


def test_ten_thousand_patches_lie_where_the_real_ones_lie(tmp_path: Path) -> None:
    real, ours = run_oracle("oracle_training.py", "patches", "out.npz", DRAWS, 12, folder=tmp_path), our_patches(DRAWS)
    for axis in range(3):
        anywhere = real["anywhere"][:, axis]
        require_same_distribution(ours["anywhere"][:, axis], anywhere[anywhere >= 0], f"anywhere {axis}")
        require_same_distribution(ours["lesion"][:, axis], real["lesion"][:, axis].clip(0), f"on lesions {axis}")
