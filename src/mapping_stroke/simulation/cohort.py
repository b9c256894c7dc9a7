"""Simulated cohorts in the layout of ATLAS R2.0, and their description."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mapping_stroke.console import name_files, say, track
from mapping_stroke.dataset.grid import ATLAS_GRID, Grid
from mapping_stroke.dataset.template_fit import TEMPLATE_LICENCE
from mapping_stroke.errors import CaseError
from mapping_stroke.files import read_json, write_json, write_text
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.lesions import find_lesions
from mapping_stroke.run_folder import working_in
from mapping_stroke.simulation.brain import Brain
from mapping_stroke.simulation.case import SimulatedCase, draw_look, simulate_case
from mapping_stroke.simulation.lesions import RealMask, allowed_region, draw_lesions, fit_masks, split_load
from mapping_stroke.simulation.plan import PlannedCase, deal_masks, plan_cohort
from mapping_stroke.simulation.scanner import store
from mapping_stroke.simulation.settings import CohortSize, SourceFolders
from mapping_stroke.simulation.sources import (
    NOT_STATED,
    BrainFolder,
    find_brains,
    find_masks,
    fingerprint_files,
    read_brain,
    read_mask,
    read_template,
)
from mapping_stroke.simulation.volume import Region

GENERATOR_VERSION = 5
"""Increased whenever the same seed yields other voxels."""
TEMPLATE = "icbm152-2009a-sym"


@dataclass(frozen=True)
class Sources:
    """Brains and masks that cases are simulated from.

    Attributes:
        brains: Real brains; None for the template.
        lesions: Folder of real masks; None for drawn lesions.
        masks: Files of that folder.
        licence: Origin and terms of both, as stated by the user.
    """

    brains: BrainFolder | None = None
    lesions: Path | None = None
    masks: tuple[Path, ...] = ()
    licence: str = ""

    @property
    def brains_fingerprint(self) -> str | None:
        """Hash of the names and sizes of the scans' files, or None for the template."""
        return None if self.brains is None else fingerprint_files(self.brains.folder, list(self.brains.scans.values()))

    @property
    def masks_fingerprint(self) -> str | None:
        """Hash of the names and sizes of the masks' files, or None for drawn lesions."""
        return None if self.lesions is None else fingerprint_files(self.lesions, self.masks)

    @property
    def people(self) -> list[list[str]] | None:
        """Names of the scans of each person, or None for the template."""
        return None if self.brains is None else [list(person.scans) for person in self.brains.people]


def cohort_identity(size: CohortSize, sources: Sources, grid: Grid) -> dict[str, object]:
    """Everything that determines a case, without the number of cases, so that a cohort can grow."""
    return {
        "command": "simulate",
        "generator": GENERATOR_VERSION,
        "seed": size.seed,
        "grid": asdict(grid),
        "brains": sources.brains_fingerprint or TEMPLATE,
        "people": sources.people,
        "lesions": sources.masks_fingerprint or "drawn",
        "kept_for_testing": size.unlabelled > 0 and (sources.brains is not None or sources.lesions is not None),
    }


def write_description(out: Path, seed: int, sources: Sources) -> None:
    """Write `dataset_description.json`: generator, sources and licences of the simulated data."""
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
        "Seed": seed,
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
    """Identity, sources (`masks`: names of real masks, none for drawn lesions) and lesion load of a case."""
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
    """Write `participants.tsv`: one row per scan in the folder, from the facts next to each."""
    files = sorted([*out.glob("Training/*/*/*/anat/*_T1w.json"), *out.glob("Testing/*/*/*/anat/*_T1w.json")])
    rows = [_flat(read_json(path)) for path in files if not path.name.startswith(".")]
    columns = list(rows[0]) if rows else []
    lines = ["\t".join(columns), *("\t".join(str(row[column]) for column in columns) for row in rows)]
    write_text(out / "participants.tsv", "\n".join(lines) + "\n")


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten facts to one row: nested names are joined by dots, lists by commas."""
    row: dict[str, str] = {}
    for name, value in facts.items():
        if isinstance(value, dict):
            row |= _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            row[prefix + name] = ",".join(f"{part:.4g}" if isinstance(part, float) else str(part) for part in value)
        else:
            row[prefix + name] = f"{value:.4g}" if isinstance(value, float) else str(value)
    return row


SPACE = "MNI152NLin2009aSym"
CONTENTS = ("Training", "Testing", "Testing_reference", "dataset_description.json", "participants.tsv")
"""Contents of a cohort's folder."""
TEMPLATE_STRENGTH, REAL_STRENGTH = 1.0, 0.5
"""Strength of the deformation; less for real brains, which already differ."""


@dataclass(frozen=True)
class Places:
    """The files of one case."""

    scan: Path
    mask: Path
    facts: Path


def find_sources(folders: SourceFolders, licence: str = "") -> Sources:
    """Find the brains and masks in folders. Raises `CaseError` if a folder holds none."""
    return Sources(
        brains=None if folders.brains is None else find_brains(folders.brains, folders.rescans),
        lesions=folders.lesions,
        masks=() if folders.lesions is None else tuple(find_masks(folders.lesions)),
        licence=licence,
    )


def simulate_cohort(
    out: Path, size: CohortSize, sources: Sources, grid: Grid = ATLAS_GRID, *, overwrite: bool = False
) -> list[PlannedCase]:
    """Write the missing cases, then the tables that describe the cohort.

    Args:
        out: The data set's folder.
        size: Number of cases, and the seed.
        sources: Brains and masks.
        grid: Voxel grid of the cohort.
        overwrite: Remove what another run has left in `out`.

    Returns:
        All cases of the cohort.

    Raises:
        CaseError: A source lacks something.
        ImageError: A source cannot be read.
        RunFolderError: `out` holds something else.
    """
    people = None if sources.brains is None else sources.brains.people
    cases = plan_cohort(size, people)
    _try_sources(cases, sources, reserve=size.unlabelled > 0)
    with working_in(out, cohort_identity(size, sources, grid), CONTENTS, overwrite=overwrite):
        _write_cohort(out, cases, size, sources, grid)
    return cases


def _write_cohort(out: Path, cases: Sequence[PlannedCase], size: CohortSize, sources: Sources, grid: Grid) -> None:
    reserve = size.unlabelled > 0
    write_description(out, size.seed, sources)
    missing = [case for case in cases if not places_of(out, case).facts.is_file()]
    if len(missing) < len(cases):
        say(f"{len(cases) - len(missing)} of {len(cases)} simulated cases exist already")
    brains = _BrainReader(sources.brains, grid)
    in_turn = sorted(missing, key=lambda case: case.brain or "")  # so that each brain is read once
    with _one_torch_thread():
        for case in track(in_turn, "Simulating strokes", len(in_turn)):
            brain, allowed = brains.read(case.brain)
            masks = _masks_of(case, sources, reserve=reserve)
            made, facts = _make_case(case, (brain, allowed), sources, masks)
            places = places_of(out, case)
            _write_volumes(places, made, brain, grid)
            write_json(places.facts, facts)
    write_participants(out)
    name_files("Simulated cohort (not patients)", out)
    name_files("Participants", out / "participants.tsv")


def places_of(out: Path, case: PlannedCase) -> Places:
    """Paths of a case. The true mask of an unlabelled scan is stored elsewhere, named as `mapping evaluate` expects."""
    part = "Training" if case.split == "training" else "Testing"
    anat = out / part / case.site / f"sub-{case.subject}" / f"ses-{case.session}" / "anat"
    stem = f"{case.case_id}_space-{SPACE}"
    mask = anat / f"{stem}_label-L_desc-T1lesion_mask.nii.gz"
    if case.split == "testing":
        mask = out / "Testing_reference" / f"{case.case_id}_mask.nii.gz"
    return Places(anat / f"{stem}_T1w.nii.gz", mask, anat / f"{stem}_T1w.json")


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread: in many short operations, several threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _BrainReader:
    """Reads brains and caches the last one."""

    def __init__(self, folder: BrainFolder | None, grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self.read = lru_cache(maxsize=1)(self._read)

    def _read(self, name: str | None) -> tuple[Brain, Region]:
        if name is None or self._folder is None:
            brain = read_template(self._grid)
        else:
            brain = read_brain(self._folder.scans[name], self._grid)
        return brain, allowed_region(brain)


def _try_sources(cases: list[PlannedCase], sources: Sources, *, reserve: bool) -> None:
    """Read all brains and the first masks that are needed, so that a bad source is reported before any output."""
    if sources.brains is not None:
        for name in sorted({case.brain for case in cases if case.brain}):
            read_image(sources.brains.scans[name])
    _masks_of(cases[0], sources, reserve=reserve)


def _make_case(
    case: PlannedCase, prepared: tuple[Brain, Region], sources: Sources, masks: list[RealMask]
) -> tuple[SimulatedCase, dict[str, Any]]:
    """Simulate a case, and return it with its facts."""
    brain, allowed = prepared
    rng = case.rng()  # its own numbers: adding cases does not change the others
    used: list[str] = []
    if sources.lesions is None:
        lesions = draw_lesions(brain, allowed, split_load(case.load_mm3, rng), rng)
    else:
        lesions, used = fit_masks(brain, allowed, masks, case.load_mm3, rng)
        if not bool(lesions.any()):
            tried = f"{len(used)} masks ({', '.join(used[:3])})"
            raise CaseError(f"{sources.lesions}: none of {tried} lies in the brain, expected masks in MNI152 space")
    look = draw_look(case.load_mm3, case.scanner(rng), REAL_STRENGTH if case.brain else TEMPLATE_STRENGTH, rng)
    made = simulate_case(brain, lesions, look, rng)
    return made, {**case_facts(case, made, used), **asdict(look)}


def _masks_of(case: PlannedCase, sources: Sources, *, reserve: bool) -> list[RealMask]:
    """The real masks that may become the lesions of a case, or none for drawn lesions."""
    if sources.lesions is None:
        return []
    people = None if sources.brains is None else len(sources.brains.people)
    hand = deal_masks(case, sources.masks, people, reserve=reserve)
    return [read_mask(path, sources.lesions) for path in hand]


def _write_volumes(places: Places, made: SimulatedCase, brain: Brain, grid: Grid) -> None:
    for path, part in ((places.mask, made.mask), (places.scan, store(made.scan, made.coverage))):
        whole = np.zeros(grid.shape, bool if path == places.mask else np.uint8)
        whole[brain.box] = part.cpu().numpy()
        write_image(path, whole, grid.affine)
