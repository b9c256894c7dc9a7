"""Every metric of both profiles against panoptica, MONAI, medpy, cc3d and scikit-learn, on edge cases and random masks.

They need the programs themselves, in `.oracles` at the root of the checkout (`make oracles`).
"""

import subprocess
from pathlib import Path

import pytest

from benchmarks.mask_pairs import make_pairs
from benchmarks.metrics import OTHER_DEFINITIONS, Agreement, compare_metrics
from mapping_stroke.evaluation.profiles import PROFILES

pytestmark = pytest.mark.slow

PROGRAMS = Path(__file__).resolve().parents[2] / ".oracles" / "bin"
TOLERANCE = {"panoptica": 1e-12, "medpy": 1e-12, "cc3d": 0.0, "scikit-learn": 1e-12, "plain sums": 1e-12, "MONAI": 1e-7}
"""MONAI gives single precision, so only its whole numbers can be exact."""


@pytest.fixture(scope="module")
def agreements() -> list[Agreement]:
    imports = [PROGRAMS / "python", "-c", "import cc3d, medpy, monai, panoptica, sklearn"]
    if not (PROGRAMS / "python").exists() or subprocess.run(imports, capture_output=True, check=False).returncode:
        pytest.skip("no .oracles with panoptica and MONAI at the root of the checkout; `make oracles` makes it")
    return compare_metrics(make_pairs(random=400, large=1, seed=5), PROGRAMS)[0]


def test_every_metric_of_both_profiles_is_compared(agreements: list[Agreement]) -> None:
    same = {tuple(found.key.split("/")[:2]) for found in agreements if found.key not in OTHER_DEFINITIONS}
    assert same == {(profile.name, key) for profile in PROFILES.values() for key in profile.keys}
    assert min(len(found.ours) for found in agreements) > 350


def test_programs_with_the_same_definition_give_the_same_numbers(agreements: list[Agreement]) -> None:
    for found in agreements:
        if found.key not in OTHER_DEFINITIONS:
            assert found.largest <= TOLERANCE[found.key.split("/")[2]], found.key


def test_programs_with_another_definition_give_other_numbers(agreements: list[Agreement]) -> None:
    different = {found.key for found in agreements if found.differing()}
    assert different == set(OTHER_DEFINITIONS)
