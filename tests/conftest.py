"""Fixtures that every test may use."""

from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path

import hypothesis
import pytest
import torch
from playwright.sync_api import Browser

from browser import chromium
from mapping_stroke import environment
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.images.image import Image, Mask
from mapping_stroke.report import pictures, style
from mapping_stroke.space import brain
from mapping_stroke.space.brain_network import extract_brain
from mapping_stroke.training.schemes import SIZES
from phantoms import NANO
from small_models import member_card, write_model

torch.set_num_threads(1)  # tests use arrays so small that threads only wait for one another

hypothesis.settings.register_profile("untimed", deadline=None, max_examples=50)
hypothesis.settings.load_profile("untimed")  # a busy machine is slow, not wrong


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden values, beside the checkout; tests that need it skip where it is absent."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "golden").is_dir():
            return parent / "shared"
    pytest.skip("no folder `shared` with real data and golden values beside the checkout")


@pytest.fixture(scope="session", autouse=True)
def brains_once() -> Iterator[None]:
    """Let the network extract the brain of the same scan only once per process: that takes seconds."""
    known: dict[bytes, Mask] = {}

    def extract_once(scan: Image) -> Mask:
        key = sha256(repr((scan.shape, scan.affine.tolist())).encode() + scan.voxels.tobytes()).digest()
        if key not in known:
            known[key] = extract_brain(scan)
        return known[key].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(brain, "extract_brain", extract_once)
        yield


@pytest.fixture(scope="session", autouse=True)
def versions_once() -> Iterator[None]:
    """Look up the version of each package once: nearly every command records them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "version", cache(environment.version))
        yield


@pytest.fixture(scope="module")
def coarse_pictures() -> Iterator[None]:
    """Draw pictures with a quarter of the pixels, where only their being there counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "PIXELS_PER_INCH", style.PIXELS_PER_INCH // 2)
        patch.setattr(pictures, "PIXELS_PER_INCH", pictures.PIXELS_PER_INCH // 2)
        yield


@pytest.fixture(scope="module")
def nano() -> Iterator[None]:
    """Let the size `tiny` be one that trains in seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "tiny", NANO)
        yield


@pytest.fixture(scope="session")
def one_member(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one untrained member, which segments phantoms in a blink."""
    path = tmp_path_factory.mktemp("model") / "one.mapping"
    write_model(path, member_card("default", 0, preprocess=PreprocessSpec(3.0), patch=(8, 8, 8)))
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started
