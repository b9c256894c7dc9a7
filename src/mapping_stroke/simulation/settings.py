"""Settings of simulated cohorts: each class is both a group of options on the command line and a value in Python."""

from dataclasses import dataclass
from pathlib import Path

from mapping_stroke.errors import CaseError

FROZEN_CASES = 160
"""Number of cases in the frozen hold-out."""


@dataclass(frozen=True)
class SourceFolders:
    """Healthy brains and lesion masks that strokes are simulated from."""

    brains: Path | None = None
    """Folder of real healthy *_T1w.nii.gz: skull-stripped in MNI space, perhaps with *_tissues.nii.gz (1 CSF, 2 grey,
    3 white), or raw, which are then registered and skull-stripped; without it the ICBM152 template is used. Scans whose
    names agree up to the first _ belong to one person. `models` deals people and masks into fixed splits: give `audit`
    and `hold-out` all those that models were trained with."""
    lesions: Path | None = None
    """Folder of real lesion masks in MNI space, on any grid; without it lesions are drawn."""
    rescans: tuple[str, ...] = ()
    """People who are in --brains under two names, such as 1003=1023."""

    def __post_init__(self) -> None:
        if self.rescans and self.brains is None:
            raise CaseError("--rescans names people of --brains: give both or neither")


@dataclass(frozen=True)
class CohortSize:
    """Size and seed of a simulated cohort."""

    subjects: int
    """Number of training cases."""
    seed: int
    """Seed of all random numbers."""
    unlabelled: int = 0
    """Number of scans without masks in Testing/, of people other than those of the training cases."""

    def __post_init__(self) -> None:
        if self.subjects < 1 or self.unlabelled < 0:
            raise CaseError(
                f"--subjects {self.subjects} --unlabelled {self.unlabelled}: expected at least 1 subject and 0 "
                "unlabelled"
            )
        if self.seed < 0:
            raise CaseError(f"--seed {self.seed}: expected 0 or more")
