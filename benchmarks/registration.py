"""How well scans find their place in MNI152 space: raw ones, and misplaced ones whose place is known."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation

from benchmarks.commands import OURS, Cost, run_command
from benchmarks.misplaced_scans import MisplacedScan, Plan, misplace
from mapping_stroke.console import say
from mapping_stroke.dataset.template_fit import fit_at, tissue_points
from mapping_stroke.errors import RegistrationError
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Image, orientation_names, read_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.report.overview import PlacedRow, draw_placements
from mapping_stroke.simulation.head import Kind
from mapping_stroke.simulation.sources import find_brains
from mapping_stroke.space.affine import COARSE, FINE, refine_place
from mapping_stroke.space.brain import CELL_MM, cut_out, overlap_with_template
from mapping_stroke.space.model_input import deface
from mapping_stroke.space.placement import PlacedScan, place_scan
from mapping_stroke.space.resample import shrink
from mapping_stroke.space.rough_fit import Quality, displacement_mm, rate

SUCCESS_MM = 3.0
"""Mean displacement of the brain: two programs register one brain so differently, and training moves it further."""
LARGEST_TURN_DEG, LARGEST_SHIFT_MM = 40.0, 60.0
EDGES_MM = ((1.0, 1.0, 1.0), (0.8, 0.8, 0.8), (0.9, 0.9, 1.2), (1.0, 1.0, 3.0), (1.2, 0.6, 0.6))
"""Voxels of the scanners, in turn."""
KINDS: tuple[Kind | None, ...] = ("head", None, "head", "too much", "head", "too little")
LOADS_ML = (0.0, 5.0, 40.0, 0.0, 150.0)
"""What is shown, and how much lesion that has, in turn."""
SEED = 0
WRONG = ((15.0, 20.0), (0.0, 35.0), (40.0, 0.0))
"""Millimetres and degrees off: what a place looks like that must not pass."""


@dataclass(frozen=True)
class Placing:
    """What came of placing one scan.

    Attributes:
        quality: Of the place; None where none was found.
        starts: Rough places that were refined.
        stripped: Whether the scan shows next to nothing around its brain.
        processor_seconds: Of `place_scan`.
        failure: Why none was found.
    """

    quality: Quality | None
    starts: int
    stripped: bool
    processor_seconds: float
    failure: str = ""


@dataclass(frozen=True)
class RawScan:
    """What became of one raw scan.

    Attributes:
        name: Of its file, without `_T1w`.
        edges_mm: Of its voxels.
        placing: What came of placing it.
        cost: Of the whole command that segments it, in a process of its own.
    """

    name: str
    edges_mm: tuple[float, float, float]
    placing: Placing
    cost: Cost


@dataclass(frozen=True)
class Outcome:
    """What became of one misplaced scan.

    Attributes:
        plan: How it was made.
        placing: What came of placing it.
        error_mm: Mean displacement of the brain from where its own registration has it; NaN where none was found.
        unmoved_mm: The same from where ours has the cut-out brain before it was moved.
        brain_dice: Of the brain found and the real one.
    """

    plan: Plan
    placing: Placing
    error_mm: float
    unmoved_mm: float
    brain_dice: float


@dataclass(frozen=True)
class Registrations:
    """All that was measured.

    Attributes:
        raw: The raw scans.
        misplaced: The misplaced ones.
        wrong: Qualities at places that are wrong.
        apart_mm: How far our registration of each cut-out brain is from its own.
    """

    raw: tuple[RawScan, ...]
    misplaced: tuple[Outcome, ...]
    wrong: tuple[Quality, ...]
    apart_mm: tuple[float, ...]


def bench_registration(native: Path, brains: Path, count: int, picture: Path | None = None) -> Registrations:
    """Register the raw scans of a folder, and misplaced ones made from the brains of another; draw the raw ones.

    Raises:
        CaseError: A folder holds no scans.
        BenchError: `mapping segment` failed on a raw scan.
    """
    raw_paths, brain_paths = (list(find_brains(folder).scans.values()) for folder in (native, brains))
    costs = [segment_as_a_command(path) for path in raw_paths]  # first: a process is born with its parent's memory
    raw: list[RawScan] = []
    to_draw: list[PlacedRow] = []
    for path, cost in zip(raw_paths, costs, strict=True):
        scan, name = read_image(path), path.name.split("_T1w")[0]
        placing, placed = try_placing(scan)
        raw.append(RawScan(name, scan.spacing_mm, placing, cost))
        say(f"{name}: {placing}")
        if placed:
            to_draw.append(PlacedRow(name, placed, deface(scan, placed)))
    if picture and to_draw:
        draw_placements(to_draw, picture)
    del to_draw
    misplaced, wrong, rng = [], [], np.random.default_rng(SEED)
    for index, plan in enumerate(plan_misplaced(brain_paths, count, rng)):
        outcome, placed = register(misplace(plan, rng))
        misplaced.append(outcome)
        wrong += [] if placed is None else list(wrong_qualities(placed, index))
        say(f"{index + 1} of {count}: {outcome}")
    apart_mm = {
        outcome.plan.path: displacement_mm(unmoved_place(outcome.plan.path), np.eye(4)) for outcome in misplaced
    }
    return Registrations(tuple(raw), tuple(misplaced), tuple(wrong), tuple(apart_mm.values()))


def plan_misplaced(paths: list[Path], count: int, rng: np.random.Generator) -> list[Plan]:
    """Plan scans from the largest turn to next to none, with shifts of all lengths; each orientation once in 48."""
    axes = rng.permutation(orientation_names())
    shifts_mm = rng.permutation(np.linspace(LARGEST_SHIFT_MM / max(count, 1), LARGEST_SHIFT_MM, count))
    plans = []
    for index in range(count):
        kind = KINDS[index % len(KINDS)]
        plans.append(
            Plan(
                path=paths[index % len(paths)],
                kind=kind,
                load_ml=LOADS_ML[index % len(LOADS_ML)] if kind else 0.0,
                turn_deg=LARGEST_TURN_DEG * (count - index) / count,
                shift_mm=float(shifts_mm[index]),
                edges_mm=EDGES_MM[index % len(EDGES_MM)],
                axes=str(axes[index % len(axes)]),
            )
        )
    return plans


def register(made: MisplacedScan) -> tuple[Outcome, PlacedScan | None]:
    """Place one misplaced scan, and compare with where it is known to be."""
    placing, placed = try_placing(made.scan)
    if placed is None:
        return Outcome(made.plan, placing, *[float("nan")] * 3), None
    place = np.linalg.inv(placed.to_mni)
    error_mm = displacement_mm(place, made.truth)
    unmoved_mm = displacement_mm(place, made.truth @ unmoved_place(made.plan.path))
    return Outcome(made.plan, placing, error_mm, unmoved_mm, dice(placed.brain.mask, made.brain)), placed


def try_placing(scan: Image) -> tuple[Placing, PlacedScan | None]:
    """Place a scan as if it came from a scanner; why not, where that fails."""
    start = time.process_time()
    try:
        placed = place_scan(scan, "native")
    except RegistrationError as error:
        return Placing(None, 0, stripped=False, processor_seconds=time.process_time() - start, failure=str(error)), None
    seconds = time.process_time() - start
    return Placing(placed.quality, placed.starts, placed.brain.stripped, seconds), placed


def segment_as_a_command(path: Path) -> Cost:
    """What `mapping segment` takes for one scan with the bundled model."""
    with TemporaryDirectory() as folder:
        return run_command((*OURS, "segment", str(path), "--output", str(Path(folder) / "out")))


def wrong_qualities(placed: PlacedScan, seed: int) -> Iterator[Quality]:
    """What the quality would be at places that are off by `WRONG`, in random directions."""
    rng = np.random.default_rng(seed)
    small, place = cut_out(placed.corrected, placed.brain.mask), np.linalg.inv(placed.to_mni)
    for shift_mm, turn_deg in WRONG:
        wrong = place @ _off(shift_mm, turn_deg, rng)
        yield rate(wrong, fit_at(small, wrong), overlap_with_template(placed.scan, placed.brain.mask, wrong))


@cache
def unmoved_place(path: Path) -> Affine:
    """Where our registration has a brain that its own has put into MNI152 space."""
    small = shrink(read_image(path), CELL_MM)
    place, _ = refine_place(small, np.eye(4), COARSE)
    return refine_place(small, place, FINE)[0]


def _off(shift_mm: float, turn_deg: float, rng: np.random.Generator) -> Affine:
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    off: Affine = np.eye(4)
    off[:3, :3] = Rotation.from_rotvec(axis * turn_deg, degrees=True).as_matrix()
    centre_mm: Float64[np.ndarray, " 3"] = tissue_points().places_mm.mean(axis=0, dtype=np.float64)
    off[:3, 3] = direction * shift_mm + centre_mm - off[:3, :3] @ centre_mm
    return off
