"""Accuracy of the registration to MNI152 space, for raw scans and for misplaced scans with a known position."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from jaxtyping import Float64
from scipy.spatial.transform import Rotation
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.commands import OURS, Cost, run_command
from benchmarks.heading import describe_head
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
from mapping_stroke.space.rough_fit import LEAST_OVERLAP, LEAST_SIMILARITY, Quality, displacement_mm, rate

SUCCESS_MM = 3.0
"""Mean displacement of the brain: two programs differ by about this much, and augmentation moves brains farther."""
LARGEST_TURN_DEG, LARGEST_SHIFT_MM = 40.0, 60.0
EDGES_MM = ((1.0, 1.0, 1.0), (0.8, 0.8, 0.8), (0.9, 0.9, 1.2), (1.0, 1.0, 3.0), (1.2, 0.6, 0.6))
"""Voxel sizes of the scans, in turn."""
KINDS: tuple[Kind | None, ...] = ("head", None, "head", "too much", "head", "too little")
LOADS_ML = (0.0, 5.0, 40.0, 0.0, 150.0)
"""Visible part of the head, and its lesion load, in turn."""
SEED = 0
WRONG = ((15.0, 20.0), (0.0, 35.0), (40.0, 0.0))
"""Millimetres and degrees by which wrong places are off; the limits must reject them."""


@dataclass(frozen=True)
class Registration(Benchmark):
    """Register raw scans, and scans with a known position, to MNI152: errors, refusals, time and memory."""

    native: Positional[Path]
    """Folder of raw T1w scans."""
    brains: Path
    """Folder of skull-stripped T1w scans in MNI152 space, from which misplaced scans are made."""
    scans: int = 30
    """Number of misplaced scans; 48 cover each orientation once, 0 skips them."""
    picture: Path | None = None
    """Draw the raw scans' brains with the template's outlines (PNG)."""

    def __post_init__(self) -> None:
        require_at_least("--scans", self.scans, 0)

    def report(self) -> str:
        """Register all scans, and list the raw and the misplaced scans in a table each."""
        found = bench_registration(self.native, self.brains, self.scans, self.picture)
        command = f"python -m benchmarks registration NATIVE --brains BRAINS --scans {self.scans}"
        return describe_registration(found, command)


@dataclass(frozen=True)
class Placing:
    """The registration of one scan.

    Attributes:
        quality: Quality of the place; None if none was found.
        starts: Number of rough places refined.
        stripped: Whether the scan shows almost nothing around its brain.
        processor_seconds: CPU time of `place_scan`.
        failure: Reason why no place was found.
    """

    quality: Quality | None
    starts: int
    stripped: bool
    processor_seconds: float
    failure: str = ""


@dataclass(frozen=True)
class RawScan:
    """The result for one raw scan.

    Attributes:
        name: Name of its file, without `_T1w`.
        edges_mm: Edges of its voxels.
        placing: Its registration.
        cost: Time and memory of the whole command that segments it, in a process of its own.
    """

    name: str
    edges_mm: tuple[float, float, float]
    placing: Placing
    cost: Cost


@dataclass(frozen=True)
class Outcome:
    """The result for one misplaced scan.

    Attributes:
        plan: Its plan.
        placing: Its registration.
        error_mm: Mean displacement of the brain from its position by its original registration; NaN if not placed.
        unmoved_mm: The same from its position by our registration of the original brain.
        brain_dice: Dice of the brain mask with the true brain.
    """

    plan: Plan
    placing: Placing
    error_mm: float
    unmoved_mm: float
    brain_dice: float


@dataclass(frozen=True)
class Registrations:
    """All results.

    Attributes:
        raw: Results of the raw scans.
        misplaced: Results of the misplaced scans.
        wrong: Qualities at wrong places.
        apart_mm: Distance between our registration of each original brain and its own.
    """

    raw: tuple[RawScan, ...]
    misplaced: tuple[Outcome, ...]
    wrong: tuple[Quality, ...]
    apart_mm: tuple[float, ...]


def bench_registration(native: Path, brains: Path, count: int, picture: Path | None = None) -> Registrations:
    """Register and draw the raw scans of a folder, and register misplaced scans made from the brains of another.

    Raises:
        CaseError: A folder holds no scans.
        BenchError: `mapping segment` failed on a raw scan.
    """
    raw_paths, brain_paths = (list(find_brains(folder).scans.values()) for folder in (native, brains))
    costs = [segment_as_a_command(path) for path in raw_paths]  # first: a process starts with its parent's memory
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
    del to_draw  # whole scans, which would add to the peak memory
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
    """Plan scans with decreasing rotation and shifts of all lengths. Each orientation occurs once in 48."""
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
    """Place one misplaced scan, and compare with its known position."""
    placing, placed = try_placing(made.scan)
    if placed is None:
        return Outcome(made.plan, placing, *[float("nan")] * 3), None
    place = np.linalg.inv(placed.to_mni)
    error_mm = displacement_mm(place, made.truth)
    unmoved_mm = displacement_mm(place, made.truth @ unmoved_place(made.plan.path))
    return Outcome(made.plan, placing, error_mm, unmoved_mm, dice(placed.brain.mask, made.brain)), placed


def try_placing(scan: Image) -> tuple[Placing, PlacedScan | None]:
    """Place a scan as if it came from a scanner, or return None and the reason if that fails."""
    start = time.process_time()
    try:
        placed = place_scan(scan, "native")
    except RegistrationError as error:
        return Placing(None, 0, stripped=False, processor_seconds=time.process_time() - start, failure=str(error)), None
    seconds = time.process_time() - start
    return Placing(placed.quality, placed.starts, placed.brain.stripped, seconds), placed


def segment_as_a_command(path: Path) -> Cost:
    """Time and memory of `mapping segment` for one scan with the bundled model."""
    with TemporaryDirectory() as folder:
        return run_command((*OURS, "segment", str(path), "--output", str(Path(folder) / "out")))


def wrong_qualities(placed: PlacedScan, seed: int) -> Iterator[Quality]:
    """Qualities at places that are off by `WRONG`, in random directions."""
    rng = np.random.default_rng(seed)
    small, place = cut_out(placed.corrected, placed.brain.mask), np.linalg.inv(placed.to_mni)
    for shift_mm, turn_deg in WRONG:
        wrong = place @ _off(shift_mm, turn_deg, rng)
        yield rate(wrong, fit_at(small, wrong), overlap_with_template(placed.scan, placed.brain.mask, wrong))


@cache
def unmoved_place(path: Path) -> Affine:
    """The place of an MNI152-registered brain by our own registration."""
    small = shrink(read_image(path), CELL_MM)
    place, _ = refine_place(small, np.eye(4), COARSE)
    return refine_place(small, place, FINE)[0]


def _off(shift_mm: float, turn_deg: float, rng: np.random.Generator) -> Affine:
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.standard_normal((2, 3)))
    off: Affine = np.eye(4)
    off[:3, :3] = Rotation.from_rotvec(axis * turn_deg, degrees=True).as_matrix()
    centre_mm: Float64[np.ndarray, " 3"] = tissue_points().places_mm.mean(axis=0, dtype=np.float64)
    # rotate about the centre of the brain, so that the two errors stay separate
    off[:3, 3] = direction * shift_mm + centre_mm - off[:3, :3] @ centre_mm
    return off


PLAN_COLUMNS = ("brain", "shows", "lesion, mL", "turn, deg", "shift, mm", "voxels, mm", "axes")


def describe_registration(found: Registrations, command: str) -> str:
    """A table of the raw scans, one of the misplaced scans, and the limits compared with the found values."""
    return "\n".join(
        [
            *describe_head("Registration of raw scans to MNI152", command, ("numpy", "scipy", "SimpleITK")),
            "Processor seconds are summed over the cores; `seconds` are wall-clock time, with other work "
            "on the machine.",
            "",
            "## Raw scans",
            "",
            "*Placing*: registration, bias field and brain mask, on one core. *Whole command*: `mapping segment SCAN "
            "--output OUT` with the bundled model, from start to end. The template's size is 1; similarity and overlap "
            "are explained below.",
            "",
            *table_head(
                *("scan", "voxels, mm", "shows", "similarity", "overlap", "size x, y, z", "starts"),
                *("placing, processor s", "whole command, processor s", "seconds", "GB"),
            ),
            *(_raw_line(one) for one in found.raw),
            "",
            *(_misplaced(found) if found.misplaced else ()),
            "## Limits",
            "",
            *_limits(found),
            "",
        ]
    )


def table_head(*names: str) -> list[str]:
    """The first two lines of a table."""
    return [table_line(*names), table_line(*["---"] * len(names))]


def table_line(*cells: str) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def edge_cell(edges_mm: Sequence[float]) -> str:
    """Edges of a voxel."""
    return " ".join(f"{edge:.2g}" for edge in edges_mm)


def plan_cells(plan: Plan) -> tuple[str, ...]:
    """The plan of a scan, for `PLAN_COLUMNS`."""
    numbers = (f"{number:.0f}" for number in (plan.load_ml, plan.turn_deg, plan.shift_mm))
    return plan.name, plan.shows, *numbers, edge_cell(plan.edges_mm), plan.axes


def _raw_line(one: RawScan) -> str:
    return table_line(
        one.name,
        edge_cell(one.edges_mm),
        *_placing_cells(one.placing, with_size=True),
        f"{one.placing.processor_seconds:.1f}",
        f"{one.cost.processor_seconds:.1f}",
        f"{one.cost.seconds:.1f}",
        f"{one.cost.peak_bytes / 1e9:.2f}",
    )


def _misplaced(found: Registrations) -> list[str]:
    good = [outcome for outcome in found.misplaced if outcome.error_mm < SUCCESS_MM]
    lines = [
        table_line(
            *plan_cells(one.plan),
            *(f"{error_mm:.1f}" for error_mm in (one.error_mm, one.unmoved_mm)),
            f"{one.brain_dice:.2f}",
            *_placing_cells(one.placing)[1:],
        )
        for one in found.misplaced
    ]
    return [
        "## Misplaced scans",
        "",
        f"**{len(good)} of {len(found.misplaced)} within {SUCCESS_MM:g} mm.** Real brains in MNI152 space, "
        "skull-stripped or in simulated heads (with age, simulated lesions, other scanners; some badly stripped), then "
        "rotated about any axis by up to 40 degrees, shifted by up to 60 mm, shrunk by up to 15 % along each axis, "
        "resampled to upright grids with other voxels and stored in other orientations. The error is the mean "
        "displacement of the brain from its position by its original registration; `unmoved`, from its position by our "
        "registration of the original brain. The two registrations are "
        f"{np.median(found.apart_mm):.1f} mm apart for the median brain (up to {max(found.apart_mm):.1f}), so a "
        f"smaller error cannot be expected; {SUCCESS_MM:g} mm is about twice that. `brain` is the Dice of the brain "
        "mask.",
        "",
        *table_head(*PLAN_COLUMNS, "error, mm", "unmoved, mm", "brain", "similarity", "overlap", "starts"),
        *lines,
        "",
        _summary(found.misplaced),
        "",
        *(f"{one.plan.name}: {one.placing.failure}.\n" for one in found.misplaced if one.placing.failure),
    ]


def _placing_cells(placing: Placing, *, with_size: bool = False) -> tuple[str, ...]:
    """Shows, similarity, overlap, size if wanted, starts."""
    quality = placing.quality
    if quality is None:
        return "not placed", *[""] * (3 + with_size)
    size = [" ".join(f"{size:.2f}" for size in quality.size)] if with_size else []
    shows = "brain" if placing.stripped else "head"
    return shows, f"{quality.similarity:.2f}", f"{quality.overlap:.2f}", *size, str(placing.starts)


def _summary(outcomes: Sequence[Outcome]) -> str:
    found = [one for one in outcomes if one.placing.quality is not None]
    if not found:
        return "No scan was placed."
    errors, unmoved, brains = (
        np.array([getattr(one, name) for one in found]) for name in ("error_mm", "unmoved_mm", "brain_dice")
    )
    seconds = np.array([one.placing.processor_seconds for one in found])
    return (
        f"Median error {np.median(errors):.1f} mm (largest {errors.max():.1f}); unmoved {np.median(unmoved):.1f} "
        f"({unmoved.max():.1f}); brain mask's Dice {np.median(brains):.2f} (lowest {brains.min():.2f}); "
        f"{np.median(seconds):.0f} processor seconds each (most {seconds.max():.0f})."
    )


def _limits(found: Registrations) -> list[str]:
    placings = [*(one.placing for one in found.raw), *(one.placing for one in found.misplaced)]
    right = [placing.quality for placing in placings if placing.quality]
    off = ", ".join(f"{shift:g} mm and {turn:g} degrees" for shift, turn in WRONG)
    passed = sum(not quality.complaints() for quality in found.wrong)
    return [
        "*Similarity*: share of the intensity variance explained by the template's tissues, beyond a smooth "
        "background, in the whole brain or in the hemisphere with the larger share. *Overlap*: Dice of the template's "
        "brain and the brain found in the scan. A place below either limit is rejected. Places that are off "
        f"({off}) were also rated: {passed} of {len(found.wrong)} would have been accepted.",
        "",
        *table_head("", "limit", "found places, lowest", "wrong places, median", "highest"),
        _limit_line("similarity", LEAST_SIMILARITY, right, found.wrong),
        _limit_line("overlap", LEAST_OVERLAP, right, found.wrong),
    ]


def _limit_line(name: str, limit: float, right: Sequence[Quality], wrong: Sequence[Quality]) -> str:
    seen, missed = ([getattr(quality, name) for quality in part] for part in (right, wrong))
    lowest = f"{min(seen):.2f}" if seen else ""
    median, highest = (f"{np.median(missed):.2f}", f"{max(missed):.2f}") if missed else ("", "")
    return table_line(name, f"{limit:.2f}", lowest, median, highest)
