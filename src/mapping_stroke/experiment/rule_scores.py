"""Probability maps kept for trying many rules, and the scores of rules on them: nothing is computed twice."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mapping_stroke.errors import FileError
from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.evaluation.rule_fit import FALSE_VOLUME, Row
from mapping_stroke.evaluation.rule_space import as_applied
from mapping_stroke.evaluation.score import score
from mapping_stroke.files import written_whole
from mapping_stroke.image import Mask, Probability
from mapping_stroke.lesions import bounding_box
from mapping_stroke.postprocess import CHALLENGE, PostprocessConfig, apply_rule

LOWEST = 0.05
"""Maps are cut to the box of all voxels above this, and of the lesions; lower than any level of any rule but that below
a low maximum: where the maximum is so low, all voxels that are not 0 are kept."""
MAPS_FORMAT = 3
"""Of what `StoredMap.write` keeps of a map. 1 cut faint maps too, 2 were of scans that were resampled otherwise; such
files serve no more."""
STEPS = 65534
"""Probabilities are kept in so many steps; the half is one of them, so that what is above 0.5 stays so."""
NOTHING_MARKED_MM = 100.0
"""The 95HD of a case with lesions in which nothing is marked: about half a brain, more than lesions that are found."""


@dataclass(frozen=True, eq=False)
class StoredMap:
    """The ensemble's map of one scan, on RAS axes, cut to where it says anything.

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
        """Write the map, whole or not at all."""
        is_low = self.probability.max(initial=0) <= LOWEST + CHALLENGE.below_peak
        seen = self.probability > np.float32(0 if is_low else LOWEST)
        box = bounding_box(seen if self.reference is None else seen | self.reference)
        steps = np.rint(self.probability[box] * np.float32(STEPS)).astype(np.uint16)
        reference = np.zeros(0, np.bool_) if self.reference is None else self.reference[box]
        edges = np.array([*self.spacing_mm, self.voxel_volume_mm3], np.float64)
        with written_whole(path) as partial, partial.open("wb") as file:
            np.savez_compressed(file, probability=steps, reference=reference, edges=edges)

    @classmethod
    def read(cls, path: Path) -> "StoredMap":
        """What `write` wrote; raises `FileError` where the file is damaged."""
        try:
            with np.load(path) as stored:
                probability = stored["probability"].astype(np.float32) / np.float32(STEPS)
                reference = stored["reference"] if stored["reference"].ndim == 3 else None
                x_mm, y_mm, z_mm, volume_mm3 = (float(edge) for edge in stored["edges"])
        except (OSError, ValueError, KeyError) as error:
            raise FileError(f"{path}: is damaged ({error}); delete it and run the command again") from error
        return cls(probability, reference, (x_mm, y_mm, z_mm), volume_mm3)


class RuleScores:
    """Scores rules on stored maps; rules that do the same to a map, or make the same mask, are scored once.

    Args:
        files: Id of a labelled case or healthy scan to its stored map.
    """

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = dict(files)
        self._facts: dict[str, tuple[float, int, float]] = {}
        self._by_rule: dict[tuple[str, PostprocessConfig | None], Row] = {}
        self._by_mask: dict[tuple[str, bytes], Row] = {}

    def score(self, name: str, rules: Sequence[PostprocessConfig]) -> list[Row]:
        """The values of each rule on a map: all metrics of `atlas2022`; of a healthy scan the false volume in mm3.

        A 95HD that is undefined because nothing is marked is `NOTHING_MARKED_MM`; without lesions it stays NaN.
        """
        stored: StoredMap | None = None
        if name not in self._facts:
            stored = StoredMap.read(self._files[name])
            load_vox = int(np.count_nonzero(stored.probability > np.float32(0.5)))
            self._facts[name] = (float(stored.probability.max(initial=0)), load_vox, stored.voxel_volume_mm3)
        applied = [as_applied(rule, *self._facts[name]) for rule in rules]
        for rule in dict.fromkeys(applied):
            if (name, rule) not in self._by_rule:
                stored = stored or StoredMap.read(self._files[name])
                self._by_rule[name, rule] = self._score_mask(name, stored, _mask(stored, rule))
        return [self._by_rule[name, rule] for rule in applied]

    def _score_mask(self, name: str, stored: StoredMap, mask: Mask) -> Row:
        if stored.reference is None:
            return {FALSE_VOLUME: float(mask.sum()) * stored.voxel_volume_mm3}
        digest = hashlib.sha256(np.packbits(mask).tobytes()).digest()
        if (name, digest) not in self._by_mask:
            values = score(mask, stored.reference, stored.spacing_mm, ATLAS2022.name)
            if math.isnan(values["hd95_mm"]) and stored.reference.any():
                values["hd95_mm"] = NOTHING_MARKED_MM
            self._by_mask[name, digest] = values
        return self._by_mask[name, digest]


def _mask(stored: StoredMap, rule: PostprocessConfig | None) -> Mask:
    if rule is None:
        return np.zeros(stored.probability.shape, np.bool_)
    return apply_rule(stored.probability, rule, stored.voxel_volume_mm3)
