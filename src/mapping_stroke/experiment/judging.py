"""Judge scan after scan with every member of a model, the ensemble and every rule; what is judged is kept at once."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from mapping_stroke.console import counted, progress, say
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.evaluation.false_positives import find_false
from mapping_stroke.evaluation.profiles import ATLAS2022
from mapping_stroke.evaluation.score import score
from mapping_stroke.experiment.judged_scans import JudgedScan, attempt, mark_case, read_judged
from mapping_stroke.experiment.segment_reading import MemoryCheck
from mapping_stroke.files import read_object, write_json
from mapping_stroke.image import Mask
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.member_maps import predict_each
from mapping_stroke.networks.cards import BundleCard
from mapping_stroke.postprocess import PostprocessConfig, apply_rule, find_rule

Part = Literal["labelled", "healthy", "heads", "hard"]
PARTS: tuple[Part, ...] = ("labelled", "healthy", "heads", "hard")
PART_NOUNS = {"labelled": "labelled scan", "healthy": "healthy scan", "heads": "whole head", "hard": "hard scan"}
Entry = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Judge:
    """What judges one scan after another.

    Attributes:
        ensemble: The members on an engine.
        card: Of the model.
        rules: What the ensemble is post-processed with, by name; members get P > 0.5.
        ledger: File that keeps what is known of every scan.
    """

    ensemble: Ensemble
    card: BundleCard
    rules: Mapping[str, PostprocessConfig]
    ledger: Path

    @property
    def members(self) -> dict[str, str]:
        """Key of the method to what it is called, for every member."""
        cards = [member.card for member in self.ensemble.members]
        return {f"{card.scheme}_fold_{card.fold}": card.name for card in cards}

    @property
    def methods(self) -> dict[str, str]:
        """All methods, in the order in which tables show them."""
        return {**self.members, **{f"ensemble-{rule}": f"ensemble, rule {rule}" for rule in self.rules}}

    def judge(self, part: Part, found: Sequence[FoundCase]) -> tuple[dict[str, Entry], list[str]]:
        """Judge scans; those that are known and have not changed are not computed again.

        Args:
            part: Labelled scans are scored; of all scans what is marked falsely is measured.
            found: The scans.

        Returns:
            What is known of each by its id, and the ids of those that failed; why has been told.

        Raises:
            CaseError: The only labelled scan failed.
        """
        ledger = {each: read_object(self.ledger).get(each, {}) for each in PARTS}
        known, alone = ledger[part], part == "labelled" and len(found) == 1
        memory = MemoryCheck(self.ensemble)
        marks = {case.case_id: attempt(case, partial(mark_case, case), alone=alone) for case in found}
        todo = [case for case in found if not _is_known(known, case.case_id, marks)]
        if len(todo) < len(found):
            say(f"{len(found) - len(todo)} of {counted(len(found), PART_NOUNS[part])} are judged already")
        with progress(f"Judging {PART_NOUNS[part]}s:", len(todo)) as show:
            for index, case in enumerate(todo):
                known.pop(case.case_id, None)
                if marks[case.case_id] is None:
                    continue  # its files cannot be read, as has been told
                advance = _summed(partial(_show_share, show, index, case.case_id))
                entry = attempt(case, partial(self._judge_one, part, case, memory, advance), alone=alone)
                if entry is not None:
                    known[case.case_id] = {"mark": marks[case.case_id], **entry}
                    write_json(self.ledger, ledger)
        judged = {case.case_id: known[case.case_id] for case in found if case.case_id in known}
        return judged, [case.case_id for case in found if case.case_id not in judged]

    def _judge_one(self, part: Part, case: FoundCase, memory: MemoryCheck, advance: Callable[[float], None]) -> Entry:
        scan = read_judged(case, self.ensemble, self.card)
        memory.require(scan.loaded)
        return _judge_masks(scan, self._masks(scan, advance), labelled=part == "labelled")

    def _masks(self, scan: JudgedScan, advance: Callable[[float], None]) -> Iterator[tuple[str, Mask]]:
        """Every method's mask on RAS axes, one at a time."""
        names = iter(self.members)
        for member, probability in predict_each(self.ensemble, scan.loaded.prepared, advance):
            turned = scan.turn(probability)
            if member is not None:
                yield next(names), apply_rule(turned, find_rule("none"), scan.voxel_volume_mm3)
                continue
            for name, rule in self.rules.items():
                yield f"ensemble-{name}", apply_rule(turned, rule, scan.voxel_volume_mm3)


def _is_known(known: Mapping[str, Entry], name: str, marks: Mapping[str, str | None]) -> bool:
    """Whether a scan is judged as it is now, by a version that measured what is marked falsely."""
    return name in known and known[name].get("mark") == marks[name] and "marked" in known[name]


def _judge_masks(scan: JudgedScan, masks: Iterator[tuple[str, Mask]], *, labelled: bool) -> Entry:
    """What is kept of a scan: what each method marks falsely; of a labelled one the load and the scores, too."""
    scores, marked = {}, {}
    for method, mask in masks:
        marked[method] = asdict(find_false(mask, scan.reference, scan.voxel_volume_mm3))
        if labelled:
            values = score(mask, scan.reference, scan.spacing_mm, ATLAS2022.name)
            scores[method] = {metric: None if math.isnan(value) else value for metric, value in values.items()}
    if not labelled:
        return {"marked": marked}
    load_vox = int(scan.reference.sum())
    load_ml = load_vox * scan.voxel_volume_mm3 / 1000
    return {"load_vox": load_vox, "load_ml": load_ml, "scores": scores, "marked": marked}


def _summed(show: Callable[[float], None]) -> Callable[[float], None]:
    """What shows the sum of the shares that it is told."""
    done = 0.0

    def advance(share: float) -> None:
        nonlocal done
        done += share
        show(done)

    return advance


def _show_share(show: Callable[[float, str], None], index: int, name: str, share: float) -> None:
    show(index + share, name)
