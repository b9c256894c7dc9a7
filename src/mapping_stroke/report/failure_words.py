"""A failure of a model in one sentence."""

from mapping_stroke.evaluation.failures import Failure
from mapping_stroke.report.names import load_words

PICTURED = (
    "Each row is one case, in the axial slice that shows most of the failure: the scan; then, enlarged, the scan, the "
    "true lesions, what the model marks, and P(lesion). Dice and volumes are of the whole scan."
)


def failure_sentence(failure: Failure) -> str:
    """Its kind, name and values."""
    if failure.dice is None:
        return f"{failure.title}: {failure.name} ({failure.group}), {load_words(failure.false_ml)} marked."
    missed = "all of it missed" if failure.dice == 0 else f"{load_words(failure.missed_ml)} missed"
    beside = f"{load_words(failure.false_ml)} marked outside" if failure.false_ml else "nothing marked outside"
    return (
        f"{failure.title}: {failure.name}, {load_words(failure.load_ml)} of lesions; Dice {failure.dice:.2f}, "
        f"{missed}, {beside}."
    )
