"""The picture of where a model fails: the few chosen scans are segmented once more, one at a time."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mapping_stroke.console import progress
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.evaluation.failures import Failure
from mapping_stroke.evaluation.false_positives import HEALTHY
from mapping_stroke.experiment.judged_scans import attempt, read_judged
from mapping_stroke.experiment.judging import Judge, Part
from mapping_stroke.experiment.segment_reading import MemoryCheck
from mapping_stroke.files import remove
from mapping_stroke.image import turn_axes
from mapping_stroke.postprocess import apply_rule
from mapping_stroke.space.shown import hide_head

if TYPE_CHECKING:
    from mapping_stroke.report.failure_picture import FailureRow

FAILURES_PICTURE = "failures.jpg"


def picture_failures(
    failures: Sequence[Failure], scans: Mapping[Part, Sequence[FoundCase]], judge: Judge, path: Path
) -> None:
    """Draw each failure under the rule `mapping`; one whose scan cannot be read is told and left out.

    Args:
        failures: In the order of the rows.
        scans: Where they come from.
        judge: Ensemble and rules.
        path: JPEG to write; removed where there is nothing to draw.
    """
    from mapping_stroke.report.failure_picture import draw_failures

    cases = {(part, case.case_id): case for part, found in scans.items() for case in found}
    memory, rows = MemoryCheck(judge.ensemble), []
    with progress("Drawing failures:", len(failures)) as show:
        for number, failure in enumerate(failures, start=1):
            case = cases["healthy" if failure.group == HEALTHY else "labelled", failure.name]
            row = attempt(case, partial(_segment, number, failure, case, judge, memory), alone=False)
            rows += [] if row is None else [row]
            show(number, failure.name)
    if rows:
        draw_failures(rows, path)
    else:
        remove(path)


def _segment(number: int, failure: Failure, case: FoundCase, judge: Judge, memory: MemoryCheck) -> "FailureRow":
    """Only slices are kept."""
    from mapping_stroke.report.failure_picture import show_failure
    from mapping_stroke.report.failure_words import failure_sentence

    scan = read_judged(case, judge.ensemble, judge.card, again=True)
    memory.require(scan.loaded)
    probability = scan.turn(judge.ensemble.predict(scan.loaded.prepared).probability)
    mask = apply_rule(probability, judge.rules["mapping"], scan.voxel_volume_mm3)
    text = f"{number}. {failure_sentence(failure)}"
    shown = hide_head(scan.loaded.image, scan.loaded.seen.placed)
    return show_failure(text, turn_axes(shown), scan.reference, (mask, probability), failure.look)
