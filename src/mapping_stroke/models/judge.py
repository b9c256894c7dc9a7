"""Evaluation of labelled cases and healthy scans with every member, and with the ensemble under every rule."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float32

from mapping_stroke import work as work_on
from mapping_stroke.cohort.reviewed import WITH_REVIEWED
from mapping_stroke.cohort.segmenter import LoadedScan, Segmenter, make_segmenter, scan_sha256
from mapping_stroke.cohort.settings import Computation
from mapping_stroke.console import counted, progress, say, warn
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.checks import check_names
from mapping_stroke.dataset.layouts import find_cases
from mapping_stroke.errors import CaseError, FileError
from mapping_stroke.evaluation.cohorts import find_false
from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.evaluation.rule_fit import FALSE_VOLUME, MARKED, Row, as_applied
from mapping_stroke.evaluation.score import score
from mapping_stroke.files import fingerprint, none_if_nan, read_object, write_json, written_whole
from mapping_stroke.images.formats import find_source
from mapping_stroke.images.image import Image, Mask, Probability, image_stem, read_mask, reorient, require_same_grid
from mapping_stroke.lesions import bounding_box
from mapping_stroke.models.settings import Prediction
from mapping_stroke.networks.bundle import Bundle
from mapping_stroke.rules import CHALLENGE, PostprocessConfig, apply_rule, find_rule
from mapping_stroke.work import show_share, summed

T = TypeVar("T")
Part = Literal["labelled", "healthy", "heads", "hard"]
PARTS: tuple[Part, ...] = ("labelled", "healthy", "heads", "hard")
PART_NOUNS = {"labelled": "labelled scan", "healthy": "healthy scan", "heads": "whole head", "hard": "hard scan"}
Entry = dict[str, Any]
LOWEST = 0.05
"""Maps are cropped to the box of the lesions and of all voxels above this level, which lies below every level of every
rule; in faint maps, for which rules lower their levels, all non-zero voxels are kept."""
MAPS_FORMAT = 3
"""Format of the files of `StoredMap`. 1 cropped faint maps too, 2 came from another resampling; neither is reused."""
STEPS = 65534
"""Quantisation steps of stored probabilities; 0.5 is one of them, so that values above 0.5 stay above it."""
NOTHING_MARKED_MM = 100.0
"""95HD of a case with lesions in which nothing is marked: about half a brain, more than for lesions that are found."""


@dataclass(frozen=True, eq=False)
class EvaluationCase:
    """A scan ready for the members, with its reference mask.

    Attributes:
        loaded: The scan as stored, and as model input.
        reference: The lesions, on RAS axes; empty for a healthy scan.
        spacing_mm: Length of a voxel's edge along each RAS axis.
    """

    loaded: LoadedScan
    reference: Mask
    spacing_mm: tuple[float, float, float]

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return self.loaded.image.voxel_volume_mm3

    def turn(self, probability: Float32[np.ndarray, "a b c"]) -> Probability:
        """Bring a map on the scan's own grid to RAS axes, as rules expect it."""
        return reorient(Image(probability, self.loaded.image.affine)).voxels


def find_labelled(cohort: Path) -> tuple[list[FoundCase], list[str]]:
    """The labelled cases of a data set, in any layout that `prepare` reads, and the ids of the unusable ones.

    Warns of every problem with a case.

    Raises:
        CaseError: There is no folder, no scan, or no usable scan with a mask.
    """
    findings = find_cases(cohort, layouts=WITH_REVIEWED)
    problems = [
        problem for problem in (*findings.problems, *check_names(findings.cases)) if problem.severity == "error"
    ]
    for problem in problems:
        warn(problem.line)
    bad = {problem.case_id for problem in problems}
    labelled = [case for case in findings.cases if case.mask is not None]
    usable = [case for case in labelled if case.case_id not in bad]
    if not usable:
        raise CaseError(
            f"{cohort}: none of its {len(findings.cases)} scans has a usable mask, expected labelled cases; "
            "give a data set with masks, see `mapping prepare`"
        )
    return usable, sorted({case.case_id for case in labelled} & bad)


def find_unlabelled(given: Sequence[Path]) -> list[FoundCase]:
    """Scans without a mask: files, and the scans of folders in any layout that `prepare` reads.

    Raises:
        CaseError: A folder holds no scan, a scan has a lesion mask next to it, or the names of two scans differ only in
            case.
    """
    found: dict[str, FoundCase] = {}
    for path in given:
        for case in find_cases(path).cases if path.is_dir() else [_lone(path)]:
            if case.mask is not None:
                raise CaseError(f"{case.scan}: has a lesion mask ({case.mask.name}); give only scans without a mask")
            key = case.case_id.casefold()
            if key in found:
                raise CaseError(
                    f"{case.scan}: {found[key].scan} has the same name but for upper and lower case; rename one"
                )
            found[key] = case
    return list(found.values())


def hash_case(case: FoundCase) -> str:
    """A hash of the case's files."""
    scan = scan_sha256(find_source(case.scan, case.series))
    return fingerprint([scan] if case.mask is None else [scan, scan_sha256(case.mask)])


def make_model_segmenter(bundle: Bundle, prediction: Prediction) -> Segmenter:
    """The segmenter of a model with the given preset and device."""
    return make_segmenter(Computation(preset=prediction.preset, device=prediction.device), bundle)


def read_evaluation_case(case: FoundCase, segmenter: Segmenter, *, again: bool = False) -> EvaluationCase:
    """Read, check and prepare a scan, and read its mask if it has one; print warnings about the scan.

    Args:
        case: The scan.
        segmenter: Loads the scan as `mapping segment` does.
        again: The warnings have been printed before.

    Raises:
        MappingError: A file cannot be read or used, or scan and mask lie on different grids.
    """
    loaded = segmenter.load(case.scan, series=case.series)
    for line in () if again else loaded.warnings:
        warn(f"{case.scan}: {line}")
    lesions = np.zeros(loaded.image.shape, np.bool_)
    if case.mask is not None:
        lesions, mask = read_mask(case.mask)
        names = (f"{case.mask}: the mask", f"its scan {case.scan}")
        require_same_grid(mask, loaded.image, names, "resample the mask onto the scan with nearest neighbour")
    reoriented = reorient(Image(lesions.astype(np.float32), loaded.image.affine))
    return EvaluationCase(loaded, reoriented.voxels > 0, reoriented.spacing_mm)


def attempt(case: FoundCase, work: Callable[[], T], *, alone: bool) -> T | None:
    """Do the work for one case; if it fails, warn and return None, or raise `CaseError` for the only case."""
    return work_on.attempt(work, case.case_id, case.scan, alone=alone)[0]


def _lone(path: Path) -> FoundCase:
    name = image_stem(path)
    return FoundCase(name, name, "", "", path, None)


@dataclass(frozen=True, eq=False)
class StoredMap:
    """The ensemble's probability map of one scan, on RAS axes, cropped to what rules can use.

    Attributes:
        probability: P(lesion).
        reference: The lesions; None for a healthy scan.
        spacing_mm: Length of a voxel's edge along each axis.
        voxel_volume_mm3: Volume of one voxel.
    """

    probability: Probability
    reference: Mask | None
    spacing_mm: tuple[float, float, float]
    voxel_volume_mm3: float

    def write(self, path: Path) -> None:
        """Write the map atomically."""
        is_low = self.probability.max(initial=0) <= LOWEST + CHALLENGE.below_peak
        used = self.probability > np.float32(0 if is_low else LOWEST)
        # lesions are kept even where nothing is marked: metrics need all of them
        box = bounding_box(used if self.reference is None else used | self.reference)
        steps = np.rint(self.probability[box] * np.float32(STEPS)).astype(np.uint16)
        reference = np.zeros(0, np.bool_) if self.reference is None else self.reference[box]
        edges = np.array([*self.spacing_mm, self.voxel_volume_mm3], np.float64)
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, probability=steps, reference=reference, edges=edges)

    @classmethod
    def read(cls, path: Path) -> "StoredMap":
        """Read a file of `write`; raises `FileError` if it is damaged."""
        try:
            with np.load(path) as stored:
                probability = stored["probability"].astype(np.float32) / np.float32(STEPS)
                reference = stored["reference"] if stored["reference"].ndim == 3 else None
                x_mm, y_mm, z_mm, volume_mm3 = (float(edge) for edge in stored["edges"])
        except (OSError, ValueError, KeyError) as error:
            raise FileError(f"{path}: is damaged ({error}); delete it and rerun the command") from error
        return cls(probability, reference, (x_mm, y_mm, z_mm), volume_mm3)


class RuleScores:
    """Scores rules on stored maps; rules that act equally on a map, or yield the same mask, are scored once.

    Args:
        files: Id of a labelled case or healthy scan to its stored map.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._facts: dict[str, tuple[float, int, float]] = {}
        self._by_rule: dict[tuple[str, PostprocessConfig | None], Row] = {}
        self._by_mask: dict[tuple[str, bytes], Row] = {}

    def score(self, name: str, rules: Sequence[PostprocessConfig]) -> list[Row]:
        """Score each rule on a map: the metrics of `atlas2022` if labelled, `FALSE_VOLUME`, `MARKED` if without lesion.

        A 95HD that is undefined because nothing is marked counts as `NOTHING_MARKED_MM`; without lesions it stays NaN.
        """
        stored: StoredMap | None = None
        if name not in self._facts:
            stored = StoredMap.read(self._files[name])
            load_vox = int(np.count_nonzero(stored.probability > np.float32(0.5)))
            self._facts[name] = (float(stored.probability.max(initial=0)), load_vox, stored.voxel_volume_mm3)
        applied = [as_applied(rule, *self._facts[name]) for rule in rules]
        # the map is read at most once, and only if a rule is new for it
        for rule in dict.fromkeys(applied):
            if (name, rule) not in self._by_rule:
                stored = stored or StoredMap.read(self._files[name])
                self._by_rule[name, rule] = self._score_mask(name, stored, _mask(stored, rule))
        return [self._by_rule[name, rule] for rule in applied]

    def _score_mask(self, name: str, stored: StoredMap, mask: Mask) -> Row:
        if stored.reference is None:
            return _falsely_marked(mask, stored)
        # many rules yield the same mask, and scoring costs far more than hashing
        digest = hashlib.sha256(np.packbits(mask).tobytes()).digest()
        if (name, digest) not in self._by_mask:
            values = score(mask, stored.reference, stored.spacing_mm, ATLAS2022.name)
            if math.isnan(values["hd95_mm"]) and stored.reference.any():
                values["hd95_mm"] = NOTHING_MARKED_MM
            if not stored.reference.any():
                values |= _falsely_marked(mask, stored)
            self._by_mask[name, digest] = values
        return self._by_mask[name, digest]


def _falsely_marked(mask: Mask, stored: StoredMap) -> dict[str, float]:
    return {FALSE_VOLUME: float(mask.sum()) * stored.voxel_volume_mm3, MARKED: float(mask.any())}


def _mask(stored: StoredMap, rule: PostprocessConfig | None) -> Mask:
    if rule is None:
        return np.zeros(stored.probability.shape, np.bool_)
    return apply_rule(stored.probability, rule, stored.voxel_volume_mm3)


@dataclass(frozen=True, eq=False)
class Evaluator:
    """Evaluates one scan after another.

    Attributes:
        segmenter: The model on an engine.
        rules: Post-processing rules of the ensemble, by name; single members get P > 0.5.
        ledger: File that stores the results of every scan.
    """

    segmenter: Segmenter
    rules: Mapping[str, PostprocessConfig]
    ledger: Path

    @property
    def members(self) -> dict[str, str]:
        """Label of every member, by the key of its method."""
        cards = [member.card for member in self.segmenter.ensemble.members]
        return {f"{card.scheme}_fold_{card.fold}": card.name for card in cards}

    @property
    def methods(self) -> dict[str, str]:
        """Label of every method by its key, in the order of the tables."""
        return {**self.members, **{f"ensemble-{rule}": f"ensemble, rule {rule}" for rule in self.rules}}

    def evaluate(self, part: Part, found: Sequence[FoundCase]) -> tuple[dict[str, Entry], list[str]]:
        """Evaluate scans, reusing the stored results of those that have not changed.

        Args:
            part: Kind of the scans; labelled ones are scored, and the falsely marked volume of all is measured.
            found: The scans.

        Returns:
            The results of each scan by its id, and the ids of those that failed, after a warning for each.

        Raises:
            CaseError: The only labelled scan failed.
        """
        ledger = {each: read_object(self.ledger).get(each, {}) for each in PARTS}
        known, alone = ledger[part], part == "labelled" and len(found) == 1
        hashes = {case.case_id: attempt(case, partial(hash_case, case), alone=alone) for case in found}
        todo = [case for case in found if not _is_known(known, case.case_id, hashes)]
        if len(todo) < len(found):
            say(f"{len(found) - len(todo)} of {counted(len(found), PART_NOUNS[part])} have already been evaluated")
        with progress(f"Evaluating {PART_NOUNS[part]}s:", len(todo)) as show:
            for index, case in enumerate(todo):
                known.pop(case.case_id, None)
                if hashes[case.case_id] is None:
                    continue  # its files cannot be read; `attempt` has warned
                advance = summed(partial(show_share, show, case.case_id, index))
                entry = attempt(case, partial(self._evaluate_one, part, case, advance), alone=alone)
                if entry is not None:
                    known[case.case_id] = {"mark": hashes[case.case_id], **entry}
                    write_json(self.ledger, ledger)  # after every scan, so that an interrupted call can resume
        results = {case.case_id: known[case.case_id] for case in found if case.case_id in known}
        return results, [case.case_id for case in found if case.case_id not in results]

    def _evaluate_one(self, part: Part, case: FoundCase, advance: Callable[[float], None]) -> Entry:
        scan = read_evaluation_case(case, self.segmenter)
        return _score_masks(scan, self._masks(scan, advance), labelled=part == "labelled")

    def _masks(self, scan: EvaluationCase, advance: Callable[[float], None]) -> Iterator[tuple[str, Mask]]:
        """The mask of every method on RAS axes, one at a time."""
        names = iter(self.members)
        for member, probability in self.segmenter.predict_each(scan.loaded, advance):
            reoriented = scan.turn(probability)
            if member is not None:
                yield next(names), apply_rule(reoriented, find_rule("none"), scan.voxel_volume_mm3)
                continue
            for name, rule in self.rules.items():
                yield f"ensemble-{name}", apply_rule(reoriented, rule, scan.voxel_volume_mm3)


def _is_known(known: Mapping[str, Entry], name: str, hashes: Mapping[str, str | None]) -> bool:
    """Whether there are results of the unchanged scan, from a version that also measured false positives."""
    return name in known and known[name].get("mark") == hashes[name] and "marked" in known[name]


def _score_masks(scan: EvaluationCase, masks: Iterator[tuple[str, Mask]], *, labelled: bool) -> Entry:
    """Results of a scan: the volume that each method marks falsely; for a labelled scan also its load and scores."""
    scores, marked = {}, {}
    for method, mask in masks:
        marked[method] = asdict(find_false(mask, scan.reference, scan.voxel_volume_mm3))
        if labelled:
            values = score(mask, scan.reference, scan.spacing_mm, ATLAS2022.name)
            scores[method] = {metric: none_if_nan(value) for metric, value in values.items()}
    if not labelled:
        return {"marked": marked}
    load_vox = int(scan.reference.sum())
    load_ml = load_vox * scan.voxel_volume_mm3 / 1000
    return {"load_vox": load_vox, "load_ml": load_ml, "scores": scores, "marked": marked}
