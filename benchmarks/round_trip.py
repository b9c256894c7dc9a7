"""Segmentation in native space compared with a copy in MNI152 space: simulated strokes in real brains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark, require_at_least
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
"""Loads of one lesion per scan, in turn, before the brain is shrunk."""
LARGEST_TURN_DEG, LARGEST_SHIFT_MM = 30.0, 40.0
SEED = 1
LEAST_ML = 5.0
"""The target is for lesions larger than this."""
COPIES = ("own", "true")
"""The copy in MNI152 space made by our registration, and the scan in MNI152 space before it was moved."""


@dataclass(frozen=True)
class RoundTrip(Benchmark):
    """Compare masks of simulated strokes segmented in native space with masks of their copies in MNI152 space."""

    brains: Positional[Path]
    """Folder of skull-stripped T1w scans in MNI152 space, of which the test split is used."""
    rescans: tuple[str, ...] = ()
    """As for `mapping models train`, and the same that the model was trained with."""
    model: str = "default"
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    cases: int = 12
    """Number of scans, alternating between skull-stripped brains and whole heads."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""

    def __post_init__(self) -> None:
        require_at_least("--cases", self.cases)

    def report(self) -> str:
        """Segment all scans in both spaces, and list the overlap of the masks."""
        rescans = f" --rescans {' '.join(self.rescans)}" if self.rescans else ""
        model = f" --model {Path(self.model).name}" if self.model != "default" else ""
        command = f"python -m benchmarks round-trip BRAINS{rescans}{model} --cases {self.cases}"
        return describe_round_trips(bench_round_trip(self), self, command)


@dataclass(frozen=True)
class Trip:
    """The result for one scan.

    Attributes:
        plan: Its plan.
        true_ml: Volume of its lesions.
        found_ml: Volume of the mask in native space; NaN if the scan was not placed.
        error_mm: Mean displacement of its brain from the true position.
        maps: For each of `COPIES`, Dice of the native mask with the mask made from the copy's probability map after
            resampling the map to the scan.
        masks: The same with the copy's own mask resampled to the scan.
        truths: Dice of the native mask (`native`) and of the masks of `masks` with the true lesions.
        failure: Reason why it was not placed.
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


def bench_round_trip(bench: RoundTrip) -> tuple[Trip, ...]:
    """Make scans one after the other and segment each in both spaces.

    Raises:
        MappingError: There are no brains of the test split, or no such model or device.
    """
    segmenter = make_segmenter(Computation(bench.model, device=bench.device))
    rng, done = np.random.default_rng(SEED), []
    for plan in plan_round_trips(held_out_brains(bench), bench.cases, rng):
        done.append(segment_both_ways(misplace(plan, rng), segmenter))
        say(f"{len(done)} of {bench.cases}: {done[-1]}")
    return tuple(done)


def held_out_brains(bench: RoundTrip) -> list[Path]:
    """Scans of people that `mapping models train` reserves for tests."""
    found = find_brains(bench.brains, bench.rescans)
    parts = parts_of_people(found.people)
    paths = [path for name, path in found.scans.items() if parts[name] == "test"]
    if not paths:
        raise ConfigError(f"{bench.brains}: holds too few people to reserve some for tests; give scans of five or more")
    return paths


def plan_round_trips(paths: Sequence[Path], count: int, rng: np.random.Generator) -> list[Plan]:
    """Plan scans with increasing rotation and shift, alternating between stripped brains and whole heads."""
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


def segment_both_ways(made: MisplacedScan, segmenter: Segmenter) -> Trip:
    """Segment one scan in native space, and its copies in MNI152 space."""
    scan, voxel_ml = made.scan, made.scan.voxel_volume_mm3 / 1000
    true_ml, nan = float(made.lesions.sum()) * voxel_ml, float("nan")
    native_space, mni_space = (
        replace(segmenter, computation=replace(segmenter.computation, space=space)) for space in ("native", "mni")
    )
    try:
        loaded = native_space.load(scan)
    except RegistrationError as error:
        return Trip(made.plan, true_ml, nan, nan, {}, {}, {}, str(error))
    native, placed = native_space.segment(loaded), loaded.model_input.placed
    assert placed is not None, "every scan is placed with the space `native`"
    copies: dict[str, tuple[Image, Affine]] = {
        # NIfTI stores affines in single precision
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
    return Trip(made.plan, true_ml, float(native.mask.sum()) * voxel_ml, error_mm, maps, masks, truths)


def _through_a_file(image: Image) -> Image:
    """The image after saving and reading it."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "copy.nii.gz"
        write_image(path, image.voxels, image.affine)
        return read_image(path)


TARGET_DICE = 0.95


def describe_round_trips(trips: Sequence[Trip], bench: RoundTrip, command: str) -> str:
    """Agreement of the masks with each other and with the true lesions: a summary, and a row for each scan."""
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
            "Simulated data: real brains of people who were not in the model's training (OASIS-1, in MNI152 space), "
            "each with one simulated chronic lesion, skull-stripped or in simulated heads, by simulated scanners; then "
            "rotated, shifted, shrunk, resampled to other grids and stored in other orientations.",
            "",
            f"Model: {model.card.name}, SHA-256 `{model.sha256[:16]}...`, preset `balanced`, rule `mapping`.",
            "",
            "The mask of `--space native` is compared with that of the same scan's copy in MNI152 space, segmented "
            "with `--space mni` and resampled to the scan's voxels. The copy is",
            "",
            "- *own*: made by our registration, saved as NIfTI and read again, resampled by the transform found;",
            "- *true*: the scan in MNI152 space before it was moved and resampled, resampled by the known transform. "
            "The two differ by registration, bias field, and an interpolation.",
            "",
            "*map*: the copy's probability map is resampled by one linear interpolation before the rule is applied, as "
            "in `segment`. *mask*: the copy's mask is resampled (linear, threshold 0.5), as in other programs.",
            "",
            *(_summary(counted, copy) for copy in COPIES),
            "",
            *_truths(counted),
            "",
            *table_head(
                *PLAN_COLUMNS,
                *("error, mm", "true, mL", "found, mL", "own: map", "own: mask", "true: map", "true: mask"),
                *("Dice with the true lesions: native", "own copy", "true copy"),
            ),
            *(_line(trip) for trip in trips),
            "",
            *(f"{trip.plan.name}: {trip.failure}.\n" for trip in trips if trip.failure),
        ]
    )


def _summary(counted: Sequence[Trip], copy: str) -> str:
    """A line about one kind of copy."""
    parts = []
    for what in ("map", "mask"):
        values = np.array([(trip.maps if what == "map" else trip.masks)[copy] for trip in counted])
        if values.size:
            enough = int((values >= TARGET_DICE).sum())
            least = f"lowest {values.min():.3f}; {enough} of {values.size} at least {TARGET_DICE}"
            parts.append(f"*{what}* Dice {values.mean():.3f} ({least})")
    return f"- **{copy} copy**, lesions over {LEAST_ML:g} mL: {'; '.join(parts) or 'none'}."


def _truths(counted: Sequence[Trip]) -> list[str]:
    """Accuracy in native space and of the copies."""
    if not counted:
        return []
    native, own, true = (np.mean([trip.truths[name] for trip in counted]) for name in ("native", *COPIES))
    return [
        f"Mean Dice with the true lesions: native {native:.3f}, own copy {own:.3f}, true copy {true:.3f} "
        "(resampled masks)."
    ]


def _line(trip: Trip) -> str:
    cells = plan_cells(trip.plan)
    if trip.failure:
        return table_line(*cells, "not placed", f"{trip.true_ml:.1f}", *[""] * 8)
    agreements = [f"{values[copy]:.3f}" for copy in COPIES for values in (trip.maps, trip.masks)]
    truths = [f"{trip.truths[name]:.2f}" for name in ("native", *COPIES)]
    return table_line(
        *cells, f"{trip.error_mm:.1f}", f"{trip.true_ml:.1f}", f"{trip.found_ml:.1f}", *agreements, *truths
    )
