"""Segmentation in native space compared with that of a copy in MNI152 space: simulated strokes in real brains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.heading import describe_head
from benchmarks.misplaced_scans import MisplacedScan, Plan, misplace
from benchmarks.registration import EDGES_MM, PLAN_COLUMNS, plan_cells, table_head, table_line
from mapping_stroke.cohort.segmenter import Segmenter, make_segmenter
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.console import say
from mapping_stroke.dataset.sources import parts_of_people
from mapping_stroke.errors import ConfigError, RegistrationError
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Image, orientation_names, read_image, write_image
from mapping_stroke.images.nifti import Affine
from mapping_stroke.inference.engines import choose_device
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.rules import mark_lesions
from mapping_stroke.simulation.head import Kind
from mapping_stroke.simulation.sources import find_brains
from mapping_stroke.space.resample import resample
from mapping_stroke.space.rough_fit import displacement_mm

KINDS: tuple[Kind, ...] = ("stripped", "head")
LOADS_ML = (20.0, 60.0, 8.0, 150.0, 35.0)
"""Of one lesion each, in turn, before the brain is made smaller."""
LARGEST_TURN_DEG, LARGEST_SHIFT_MM = 30.0, 40.0
SEED = 1
LEAST_ML = 5.0
"""Smaller lesions are not what the aim is about."""
COPIES = ("own", "true")
"""The copy in MNI152 space that our own registration makes, and the scan as it was there before it was moved."""


@dataclass(frozen=True)
class RoundTripBench:
    """What is measured.

    Attributes:
        brains: Folder of skull-stripped T1w scans in MNI152 space.
        rescans: People under two names, see `find_brains`: the scans are of people that the model never saw.
        model: See `open_bundle`.
        cases: How many scans.
        device: What computes.
    """

    brains: Path
    rescans: tuple[str, ...] = ()
    model: str = "default"
    cases: int = 12
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.cases < 1:
            raise ConfigError(f"--cases must be 1 or more, got {self.cases}")


@dataclass(frozen=True)
class RoundTrip:
    """What came of one scan.

    Attributes:
        plan: How it was made.
        true_ml: Its lesions.
        found_ml: What is marked in its own space; NaN where it was not placed.
        error_mm: How far its brain was misplaced, on average.
        maps: For each of `COPIES` the Dice of the mask in the scan's own space, and the mask from the copy's map of
            probabilities after that was brought back.
        masks: The same with the copy's own mask brought back.
        truths: Dice to the true lesions: of the mask in its own space (`native`), and of those of `masks`.
        failure: Why it was not placed.
    """

    plan: Plan
    true_ml: float
    found_ml: float
    error_mm: float
    maps: Mapping[str, float]
    masks: Mapping[str, float]
    truths: Mapping[str, float]
    failure: str = ""

    @property
    def counts(self) -> bool:
        """Whether the lesions are large enough."""
        return self.true_ml > LEAST_ML and not self.failure


def bench_round_trip(bench: RoundTripBench) -> tuple[RoundTrip, ...]:
    """Make scans one after the other and segment each in both spaces.

    Raises:
        MappingError: There are no brains of people that no training saw, or no such model or device.
    """
    segmenter = make_segmenter(Computation(bench.model, device=bench.device))
    rng, done = np.random.default_rng(SEED), []
    for plan in plan_round_trips(held_out_brains(bench), bench.cases, rng):
        done.append(travel(misplace(plan, rng), segmenter))
        say(f"{len(done)} of {bench.cases}: {done[-1]}")
    return tuple(done)


def held_out_brains(bench: RoundTripBench) -> list[Path]:
    """Scans of people that `mapping models train` keeps for tests."""
    found = find_brains(bench.brains, bench.rescans)
    parts = parts_of_people(found.people)
    paths = [path for name, path in found.scans.items() if parts[name] == "test"]
    if not paths:
        raise ConfigError(f"{bench.brains}: shows too few people to keep some for tests; give scans of five or more")
    return paths


def plan_round_trips(paths: Sequence[Path], count: int, rng: np.random.Generator) -> list[Plan]:
    """Plan scans that are turned and shifted ever farther, stripped ones and whole heads in turn."""
    axes = rng.permutation(orientation_names())
    return [
        Plan(
            path=paths[index // len(KINDS) % len(paths)],
            kind=KINDS[index % len(KINDS)],
            load_ml=LOADS_ML[index % len(LOADS_ML)],
            turn_deg=LARGEST_TURN_DEG * (index + 1) / count,
            shift_mm=LARGEST_SHIFT_MM * (index + 1) / count,
            edges_mm=EDGES_MM[index % len(EDGES_MM)],
            axes=str(axes[index % len(axes)]),
        )
        for index in range(count)
    ]


def travel(made: MisplacedScan, segmenter: Segmenter) -> RoundTrip:
    """Segment one scan in its own space, and its copies in MNI152 space."""
    scan, voxel_ml = made.scan, made.scan.voxel_volume_mm3 / 1000
    true_ml, nan = float(made.lesions.sum()) * voxel_ml, float("nan")
    native_space, mni_space = (
        replace(segmenter, computation=replace(segmenter.computation, space=space)) for space in ("native", "mni")
    )
    try:
        loaded = native_space.load(scan)
    except RegistrationError as error:
        return RoundTrip(made.plan, true_ml, nan, nan, {}, {}, {}, str(error))
    native, placed = native_space.segment(loaded), loaded.model_input.placed
    assert placed is not None, "whoever asks for native space gets a place"
    copies: dict[str, tuple[Image, Affine]] = {
        "own": (_through_a_file(loaded.model_input.image), placed.to_mni),
        "true": (made.unmoved, np.linalg.inv(made.truth)),
    }
    maps, masks, truths = {}, {}, {"native": dice(native.mask, made.lesions)}
    for name, (copy, to_mni) in copies.items():
        found = mni_space.segment(mni_space.load(copy))
        to_copy = np.linalg.inv(copy.affine) @ to_mni @ scan.affine
        probability, mask = (
            resample(values, to_copy, scan.shape) for values in (found.probability, found.mask.astype(np.float32))
        )
        maps[name] = dice(native.mask, mark_lesions(replace(scan, voxels=probability), segmenter.rule))
        masks[name], truths[name] = dice(native.mask, mask > 0.5), dice(mask > 0.5, made.lesions)
    error_mm = displacement_mm(np.linalg.inv(placed.to_mni), made.truth)
    return RoundTrip(made.plan, true_ml, float(native.mask.sum()) * voxel_ml, error_mm, maps, masks, truths)


def _through_a_file(image: Image) -> Image:
    """As it is read again after it was saved."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "copy.nii.gz"
        write_image(path, image.voxels, image.affine)
        return read_image(path)


AIM = 0.95


def describe_round_trips(trips: Sequence[RoundTrip], bench: RoundTripBench, command: str) -> str:
    """How alike the masks are, and how like the truth, case by case and in words."""
    model = open_bundle(bench.model)
    counted = [trip for trip in trips if trip.counts]
    return "\n".join(
        [
            *describe_head(
                "Native space and back",
                command,
                ("numpy", "scipy", "SimpleITK"),
                device=choose_device(bench.device).type,
            ),
            "Simulated data: real brains of people that the model's training never saw (OASIS-1, in MNI152 space) with "
            "one simulated chronic lesion each, stripped or in simulated heads, of simulated scanners; then turned, "
            "shifted, made smaller, scanned on other grids and stored in other orientations.",
            "",
            f"Model: {model.card.name}, SHA-256 `{model.sha256[:16]}...`, preset `balanced`, rule `mapping`.",
            "",
            "The mask of `--space native` is compared with that of the same scan's copy in MNI152 space, segmented "
            "with `--space mni` and brought back to the scan's voxels. The copy is",
            "",
            "- *own*: the one that our registration makes, saved as NIfTI and read again, brought back by the place "
            "that was found;",
            "- *true*: the scan as it was in MNI152 space before it was moved and scanned again, brought back by the "
            "known move. Registration, bias field, and an interpolation come between the two.",
            "",
            "*map*: the copy's map of probabilities is brought back by one linear interpolation, and the rule applied "
            "there, as `segment` does it. *mask*: its mask is brought back (linear, above a half), as another program "
            "would.",
            "",
            *(_summary(counted, copy) for copy in COPIES),
            "",
            *_truths(counted),
            "",
            *table_head(
                *PLAN_COLUMNS,
                *("error, mm", "true, mL", "marked, mL", "own: map", "own: mask", "true: map", "true: mask"),
                *("to the truth: native", "own copy", "true copy"),
            ),
            *(_line(trip) for trip in trips),
            "",
            *(f"{trip.plan.name}: {trip.failure}.\n" for trip in trips if trip.failure),
        ]
    )


def _summary(counted: Sequence[RoundTrip], copy: str) -> str:
    """A line about one kind of copy."""
    words = []
    for what in ("map", "mask"):
        values = np.array([(trip.maps if what == "map" else trip.masks)[copy] for trip in counted])
        if values.size:
            enough = int((values >= AIM).sum())
            least = f"lowest {values.min():.3f}; {enough} of {values.size} at least {AIM}"
            words.append(f"*{what}* Dice {values.mean():.3f} ({least})")
    return f"- **{copy} copy**, lesions over {LEAST_ML:g} mL: {'; '.join(words) or 'none'}."


def _truths(counted: Sequence[RoundTrip]) -> list[str]:
    """How much native space costs in terms of the truth."""
    if not counted:
        return []
    native, own, true = (np.mean([trip.truths[name] for trip in counted]) for name in ("native", *COPIES))
    return [
        f"Mean Dice to the true lesions: native {native:.3f}, own copy {own:.3f}, true copy {true:.3f} "
        "(masks brought back)."
    ]


def _line(trip: RoundTrip) -> str:
    cells = plan_cells(trip.plan)
    if trip.failure:
        return table_line(*cells, "not placed", f"{trip.true_ml:.1f}", *[""] * 8)
    agreements = [f"{values[copy]:.3f}" for copy in COPIES for values in (trip.maps, trip.masks)]
    truths = [f"{trip.truths[name]:.2f}" for name in ("native", *COPIES)]
    return table_line(
        *cells, f"{trip.error_mm:.1f}", f"{trip.true_ml:.1f}", f"{trip.found_ml:.1f}", *agreements, *truths
    )
