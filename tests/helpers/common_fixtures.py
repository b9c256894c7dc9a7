"""Fixtures that every test may use."""

import gc
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import hypothesis
import pytest
import torch
from playwright.sync_api import Browser

from browser import chromium
from computed_once import REPORT_PICTURES, compile_once, computed_once, draw_once
from mapping_stroke import demo, environment
from mapping_stroke.dataset.preprocess import PreprocessSpec
from mapping_stroke.report import pictures, style
from mapping_stroke.simulation import bank, cohort
from mapping_stroke.space import brain, rough_fit
from mapping_stroke.stages import progress, report
from mapping_stroke.training.schemes import SIZES
from phantoms import NANO
from small_models import member_card, write_model

torch.set_num_threads(1)  # tests use arrays so small that threads only wait for one another

hypothesis.settings.register_profile("untimed", deadline=None, max_examples=50)
hypothesis.settings.load_profile("untimed")  # a busy machine is slow, not wrong


gc.disable()  # until all is imported: nothing of that is garbage


def pytest_collection_finish() -> None:
    """Leave all that was imported out of later garbage collections, which take a second otherwise."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden values, beside the checkout; tests that need it skip where it is absent."""
    for parent in Path(__file__).resolve().parents:
        if (parent / "shared" / "golden").is_dir():
            return parent / "shared"
    pytest.skip("no folder `shared` with real data and golden values beside the checkout")


SLOW = (
    (brain, "extract_brain"),
    (rough_fit, "find_places"),
    (rough_fit, "refine_place"),
    (bank, "read_template"),
    (cohort, "read_template"),
    (demo, "read_template"),
)
"""Functions that take seconds, and always return the same for the same input: where they are looked up."""


@pytest.fixture(scope="session", autouse=True)
def slow_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let slow functions compute only once for each input: those of brains in all processes together.

    The same pictures of reports are drawn once, too, and so are the learning curves of members, which look alike.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "computed"  # noqa: TID251
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for module, name in SLOW:
            patch.setattr(module, name, computed_once(getattr(module, name), folder))
        compile_once(patch)
        patch.setattr(progress, "draw_member_curves", draw_once(progress.draw_member_curves, alike=True))
        for name in REPORT_PICTURES:
            patch.setattr(report, name, draw_once(getattr(report, name)))
        yield


@pytest.fixture(scope="session", autouse=True)
def versions_once() -> Iterator[None]:
    """Look up the version of each package once: nearly every command records them all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(environment, "version", cache(environment.version))
        yield


@pytest.fixture(scope="module")
def coarse_pictures() -> Iterator[None]:
    """Draw pictures with a quarter of the pixels and no regard to overlaps, where only their being there counts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "PIXELS_PER_INCH", style.PIXELS_PER_INCH // 2)
        patch.setattr(pictures, "PIXELS_PER_INCH", pictures.PIXELS_PER_INCH // 2)
        patch.setattr(style.ConstrainedLayoutEngine, "execute", lambda *_: None)
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
