"""Cases (one scan of a person, with or without a reference mask) and the table of the checked cases."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mapping_stroke.errors import CaseError
from mapping_stroke.files import read_csv, write_csv

Split = Literal["training", "testing"]
SPLITS: dict[str, Split] = {"training": "training", "testing": "testing"}

COLUMNS = (
    "case_id",
    "subject",
    "session",
    "site",
    "split",
    "scan",
    "mask",
    "load_vox",
    "load_ml",
    "components",
    "spacing_x_mm",
    "spacing_y_mm",
    "spacing_z_mm",
    "shape",
    "orientation",
)
"""Columns of `cases.csv`; `mask`, `load_vox`, `load_ml` and `components` are empty for an unlabelled scan."""
SIDE_COLUMNS = ("left_ml", "right_ml")
"""Further columns, which tables of earlier versions lack."""


@dataclass(frozen=True)
class Placement:
    """Brain of a native scan, and its place in MNI152 space, as found when a model segmented it.

    Attributes:
        brain: Brain mask, on the scan's grid.
        stripped: Whether the scan shows only its brain.
        brain_only: Whether the model reads only the brain.
        to_mni: Rows of the matrix from the scan's millimetres to those of MNI152, RAS; None for a scan that the model
            read on its own grid.
    """

    brain: Path
    stripped: bool
    brain_only: bool
    to_mni: tuple[tuple[float, ...], ...] | None


@dataclass(frozen=True)
class FoundCase:
    """A case found by the layout of its data set, before any file is opened.

    Attributes:
        case_id: Identifies the case everywhere, also in file names, such as `sub-r001s001_ses-1`.
        subject: The person, without the prefix `sub-`.
        session: Without the prefix `ses-`; empty if the layout has none.
        site: Cohort or centre; empty if unknown.
        scan: T1w file.
        mask: Reference mask; None for an unlabelled scan.
        series: DICOM series, if `scan` is a folder with several; see `find_source`.
        placement: Set for scans from results: training reads them as the model did, brought to MNI152 space.
    """

    case_id: str
    subject: str
    session: str
    site: str
    scan: Path
    mask: Path | None
    series: str = ""
    placement: Placement | None = None

    @property
    def split(self) -> Split:
        """`training` for a labelled scan; `testing` for an unlabelled one, which can be pseudo-labelled."""
        return "testing" if self.mask is None else "training"


@dataclass(frozen=True)
class Case:
    """A case that passed the checks: one row of `cases.csv`.

    Attributes:
        case_id: Identifies the case everywhere.
        subject: The person; all scans of a person belong in one fold.
        session: Empty if unknown.
        site: Cohort or centre; empty if unknown.
        split: `training` for a labelled scan, `testing` for an unlabelled one.
        scan: T1w file, absolute.
        mask: Reference mask, absolute, in which voxels above 0 are lesion. It and the next three are None for an
            unlabelled scan.
        load_vox: Lesion voxels, 0 or more.
        load_ml: Their volume in millilitres.
        components: Number of lesions (face-connected).
        spacing_mm: Length of a voxel's edge along each axis.
        shape: Voxels of the scan along each axis.
        orientation: Directions of the scan's axes, such as `RAS`.
        left_ml: Lesion volume left of the plane x = 0 in the scan's coordinates. It and the next are None for an
            unlabelled scan, where that plane is not near the middle of the scan, and in tables of earlier versions.
        right_ml: Lesion volume right of it; a voxel on the plane counts half on each side.
    """

    case_id: str
    subject: str
    session: str
    site: str
    split: Split
    scan: Path
    mask: Path | None
    load_vox: int | None
    load_ml: float | None
    components: int | None
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]
    orientation: str
    left_ml: float | None = None
    right_ml: float | None = None

    def __post_init__(self) -> None:
        if not self.case_id or set("/\\") & set(self.case_id):
            raise CaseError(f"case id {self.case_id!r}: expected a name without slashes; rename its scan")
        # all five are set, or none is
        labelled = (self.mask, self.load_vox, self.load_ml, self.components, None if self.split == "testing" else "")
        if len({value is None for value in labelled}) > 1:
            raise CaseError(
                f"{self.case_id}: a training case has a mask, a load and a number of lesions, a testing case none of "
                "them; run `mapping prepare` again"
            )
        if self.load_vox is not None and self.load_vox < 0:
            raise CaseError(f"{self.case_id}: has a load of {self.load_vox} voxels, expected 0 or more")


def labelled_loads(cases: Sequence[Case]) -> dict[str, int]:
    """The load in voxels of every labelled case, by case id."""
    return {case.case_id: case.load_vox for case in cases if case.load_vox is not None}


def write_cases(path: Path, cases: Sequence[Case]) -> None:
    """Write `cases.csv`, one row per case, in the order given."""
    write_csv(path, (*COLUMNS, *SIDE_COLUMNS), map(_row, cases))


def read_cases(path: Path) -> list[Case]:
    """Read `cases.csv`.

    Raises:
        CaseError: The file lacks a column, a value is damaged, an id occurs twice, or there is no case.
    """
    try:
        rows = read_csv(path)
    except (OSError, UnicodeDecodeError) as error:
        raise CaseError(f"{path}: cannot be read ({error}); run `mapping prepare` again") from error
    if not rows:
        raise CaseError(f"{path}: holds no case; run `mapping prepare` again")
    missing = [column for column in COLUMNS if column not in rows[0]]
    if missing:
        raise CaseError(f"{path}: has no column {', '.join(missing)}; run `mapping prepare` again")
    cases = [_case(path, number, row) for number, row in enumerate(rows, start=2)]
    twice = [case_id for case_id, count in Counter(case.case_id for case in cases).items() if count > 1]
    if twice:
        raise CaseError(f"{path}: case {twice[0]} occurs more than once; run `mapping prepare` again")
    return cases


def has_sides(path: Path) -> bool:
    """Whether a table tells the sides of the lesions; those of earlier versions do not."""
    rows = read_csv(path)
    return bool(rows) and set(SIDE_COLUMNS) <= rows[0].keys()


def _row(case: Case) -> dict[str, object]:
    spacing_mm = dict(zip(("spacing_x_mm", "spacing_y_mm", "spacing_z_mm"), case.spacing_mm, strict=True))
    return {
        **{name: getattr(case, name) for name in COLUMNS if name not in spacing_mm},
        **{name: round(edge, 6) for name, edge in spacing_mm.items()},
        **{name: _rounded(getattr(case, name)) for name in ("load_ml", *SIDE_COLUMNS)},
        "shape": "x".join(map(str, case.shape)),
    }


def _rounded(volume_ml: float | None) -> float | None:
    return None if volume_ml is None else round(volume_ml, 6)


def _case(path: Path, number: int, row: dict[str, str]) -> Case:
    try:
        x_mm, y_mm, z_mm = (float(row[f"spacing_{axis}_mm"]) for axis in "xyz")
        x, y, z = (int(edge) for edge in row["shape"].split("x"))
        return Case(
            case_id=row["case_id"],
            subject=row["subject"],
            session=row["session"],
            site=row["site"],
            split=SPLITS[row["split"]],
            scan=Path(row["scan"]),
            mask=Path(row["mask"]) if row["mask"] else None,
            load_vox=int(row["load_vox"]) if row["load_vox"] else None,
            load_ml=float(row["load_ml"]) if row["load_ml"] else None,
            components=int(row["components"]) if row["components"] else None,
            spacing_mm=(x_mm, y_mm, z_mm),
            shape=(x, y, z),
            orientation=row["orientation"],
            left_ml=float(row["left_ml"]) if row.get("left_ml") else None,
            right_ml=float(row["right_ml"]) if row.get("right_ml") else None,
        )
    except (ValueError, TypeError, KeyError, AttributeError, CaseError) as error:
        raise CaseError(f"{path}: line {number} is damaged ({error}); run `mapping prepare` again") from error
