"""What a simulated cohort says about itself: identity, description, facts of each case, table of participants."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.dataset.mni152 import TEMPLATE_LICENCE
from mapping_stroke.dataset.simulate.case import SimulatedCase
from mapping_stroke.dataset.simulate.cohort import PlannedCase
from mapping_stroke.experiment.simulation_sources import (
    NOT_STATED,
    BrainFolder,
    fingerprint_files,
)
from mapping_stroke.files import read_json, write_json, write_text
from mapping_stroke.lesions import find_lesions

GENERATOR_VERSION = 5
"""Raised whenever the same seed gives other voxels."""
TEMPLATE = "icbm152-2009a-sym"


@dataclass(frozen=True)
class Sources:
    """What a cohort is made from.

    Attributes:
        brains: Real brains; None for the template.
        lesions: Folder of real masks; None for drawn lesions.
        masks: Its files.
        licence: What the user says about both.
    """

    brains: BrainFolder | None = None
    lesions: Path | None = None
    masks: tuple[Path, ...] = ()
    licence: str = ""

    @property
    def brains_fingerprint(self) -> str | None:
        """Of the names and lengths of the scans' files; None for the template."""
        return None if self.brains is None else fingerprint_files(self.brains.folder, list(self.brains.scans.values()))

    @property
    def masks_fingerprint(self) -> str | None:
        """Of the names and lengths of the masks' files; None for drawn lesions."""
        return None if self.lesions is None else fingerprint_files(self.lesions, self.masks)

    @property
    def people(self) -> list[list[str]] | None:
        """The scans of each person; None for the template."""
        return None if self.brains is None else [list(person.scans) for person in self.brains.people]


@dataclass(frozen=True)
class Request:
    """How much is asked for.

    Attributes:
        subjects: Training cases.
        seed: Of everything.
        unlabelled: Testing scans.
        grid: The cohort's; another than that of ATLAS in tests.
    """

    subjects: int
    seed: int
    unlabelled: int = 0
    grid: Grid = ATLAS_GRID


def cohort_identity(request: Request, sources: Sources) -> dict[str, object]:
    """What decides every case; the number of cases does not, so that a cohort can grow."""
    return {
        "command": "simulate",
        "generator": GENERATOR_VERSION,
        "seed": request.seed,
        "grid": asdict(request.grid),
        "brains": sources.brains_fingerprint or TEMPLATE,
        "people": sources.people,
        "lesions": sources.masks_fingerprint or "drawn",
        "kept_for_testing": request.unlabelled > 0 and (sources.brains is not None or sources.lesions is not None),
    }


def write_description(out: Path, request: Request, sources: Sources) -> None:
    """Write `dataset_description.json`: that it is simulated, by what, from what, under which licences."""
    stated = sources.licence or NOT_STATED
    brains = {"What": "brains", "Name": TEMPLATE, "Licence": TEMPLATE_LICENCE}
    if sources.brains is not None:
        scans, people = len(sources.brains.scans), len(sources.brains.people)
        name = f"{sources.brains.folder.name}: {scans} scans of {people} people"
        brains = {"What": "brains", "Name": name, "Licence": stated}
    lesions = {"What": "lesions", "Name": "drawn at random", "Licence": "Apache-2.0"}
    if sources.lesions is not None:
        lesions = {"What": "lesions", "Name": f"{sources.lesions.name}: {len(sources.masks)} masks", "Licence": stated}
    description = {
        "Name": "Simulated strokes, not patients",
        "BIDSVersion": "1.9.0",
        "DatasetType": "derivative",
        "Simulated": True,
        "Seed": request.seed,
        "GeneratedBy": [
            {
                "Name": "mapping simulate",
                "Version": version("mapping-stroke"),
                "Description": f"Simulated lesions in healthy brains, generator version {GENERATOR_VERSION}",
            }
        ],
        "SourceDatasets": [brains, lesions],
    }
    write_json(out / "dataset_description.json", description)


def case_facts(case: PlannedCase, made: SimulatedCase, masks: Iterable[str]) -> dict[str, Any]:
    """Who a case is, what it was made from (`masks`: names of real ones, none for drawn lesions) and its load."""
    lesions = find_lesions(made.mask.cpu().numpy())
    return {
        "participant_id": f"sub-{case.subject}",
        "session_id": f"ses-{case.session}",
        "site": case.site,
        "split": case.split,
        "simulated": True,
        "source_brain": case.brain or TEMPLATE,
        "source_lesions": list(masks) or ["drawn"],
        "load_vox": int(lesions.sizes_vox.sum()),
        "components": lesions.count,
        "asked_load_mm3": round(case.load_mm3, 1),
        "seed": case.seed,
        "index": case.index,
    }


def write_participants(out: Path) -> None:
    """Write `participants.tsv`: one row per scan in the folder, from the facts beside each."""
    files = sorted([*out.glob("Training/*/*/*/anat/*_T1w.json"), *out.glob("Testing/*/*/*/anat/*_T1w.json")])
    rows = [_flat(read_json(path)) for path in files if not path.name.startswith(".")]
    columns = list(rows[0]) if rows else []
    lines = ["\t".join(columns), *("\t".join(str(row[column]) for column in columns) for row in rows)]
    write_text(out / "participants.tsv", "\n".join(lines) + "\n")


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Facts as one row: the names of nested values are joined by a dot, lists by a comma."""
    row: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            row |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            row[prefix + name] = ",".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in value)
        else:
            row[prefix + name] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return row
