"""Writing a simulated cohort in the layout of ATLAS R2.0."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from mapping_stroke.console import name_files, say, track
from mapping_stroke.dataset.grid import Grid
from mapping_stroke.dataset.simulate.anatomy import Brain
from mapping_stroke.dataset.simulate.case import SimulatedCase, draw_look, simulate_case
from mapping_stroke.dataset.simulate.cohort import PlannedCase, deal_masks, plan_cohort
from mapping_stroke.dataset.simulate.intensity import store
from mapping_stroke.dataset.simulate.loads import split_load
from mapping_stroke.dataset.simulate.real_masks import RealMask, fit_masks
from mapping_stroke.dataset.simulate.shapes import allowed_region, draw_lesions
from mapping_stroke.dataset.simulate.volume import Region
from mapping_stroke.errors import CaseError
from mapping_stroke.experiment.simulation_sources import (
    BrainFolder,
    find_brains,
    find_masks,
    read_brain,
    read_mask,
    read_template,
)
from mapping_stroke.experiment.simulation_tables import (
    Request,
    Sources,
    case_facts,
    cohort_identity,
    write_description,
    write_participants,
)
from mapping_stroke.files import write_json
from mapping_stroke.image import read_image, write_image
from mapping_stroke.run_folder import claim_folder

SPACE = "MNI152NLin2009aSym"
CONTENTS = ("Training", "Testing", "Testing_reference", "dataset_description.json", "participants.tsv")
"""What a cohort's folder holds."""
TEMPLATE_STRENGTH, REAL_STRENGTH = 1.0, 0.5
"""How far anatomy is deformed: real brains differ already."""


@dataclass(frozen=True)
class Places:
    """The files of one case."""

    scan: Path
    mask: Path
    facts: Path


def find_sources(lesions: Path | None, brains: Path | None, rescans: Sequence[str] = (), licence: str = "") -> Sources:
    """Look what is there; raises `CaseError` where a folder does not hold what it should."""
    if rescans and brains is None:
        raise CaseError("--rescans tells who is who in --brains: give both or none")
    return Sources(
        brains=None if brains is None else find_brains(brains, rescans),
        lesions=lesions,
        masks=() if lesions is None else tuple(find_masks(lesions)),
        licence=licence,
    )


def simulate_cohort(out: Path, request: Request, sources: Sources, *, overwrite: bool = False) -> list[PlannedCase]:
    """Write the cases that are not there yet, then the tables that describe the cohort.

    Args:
        out: The data set's folder.
        request: How much.
        sources: From what.
        overwrite: Remove what another run has left in `out`.

    Returns:
        All cases asked for.

    Raises:
        CaseError: A number is out of range, or a source lacks something.
        ImageError: A source cannot be read.
        RunFolderError: `out` holds something else.
    """
    people = None if sources.brains is None else sources.brains.people
    cases = plan_cohort(request.seed, request.subjects, request.unlabelled, people)
    _try_sources(cases, sources, request)
    claim_folder(out, cohort_identity(request, sources), CONTENTS, overwrite=overwrite)
    write_description(out, request, sources)
    missing = [case for case in cases if not places_of(out, case).facts.is_file()]
    if len(missing) < len(cases):
        say(f"{len(cases) - len(missing)} of {len(cases)} simulated cases are there already")
    brains = _BrainReader(sources.brains, request.grid)
    in_turn = sorted(missing, key=lambda case: case.brain or "")  # cases of one brain follow each other: read it once
    with _one_torch_thread():
        for case in track(in_turn, "Simulating strokes", len(in_turn)):
            _make_case(out, case, brains.read(case.brain), sources, request)
    write_participants(out)
    name_files("Simulated cohort (not patients)", out)
    name_files("Who is in it", out / "participants.tsv")
    return cases


def places_of(out: Path, case: PlannedCase) -> Places:
    """Where a case is written; the true mask of an unlabelled scan lies apart, named as `mapping evaluate` wants it."""
    part = "Training" if case.split == "training" else "Testing"
    anat = out / part / case.site / f"sub-{case.subject}" / f"ses-{case.session}" / "anat"
    stem = f"{case.case_id}_space-{SPACE}"
    mask = anat / f"{stem}_label-L_desc-T1lesion_mask.nii.gz"
    if case.split == "testing":
        mask = out / "Testing_reference" / f"{case.case_id}_mask.nii.gz"
    return Places(anat / f"{stem}_T1w.nii.gz", mask, anat / f"{stem}_T1w.json")


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Many short operations: on a busy machine several threads would spend more time waiting for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _BrainReader:
    """Reads brains, keeping the last."""

    def __init__(self, folder: BrainFolder | None, grid: Grid) -> None:
        self._folder, self._grid = folder, grid
        self.read = lru_cache(maxsize=1)(self._read)

    def _read(self, name: str | None) -> tuple[Brain, Region]:
        if name is None or self._folder is None:
            brain = read_template(self._grid)
        else:
            brain = read_brain(self._folder.scans[name], self._grid)
        return brain, allowed_region(brain)


def _try_sources(cases: Sequence[PlannedCase], sources: Sources, request: Request) -> None:
    """Read all brains and the first masks that are needed, so that a bad source is told before anything is written."""
    if sources.brains is not None:
        for name in sorted({case.brain for case in cases if case.brain}):
            read_image(sources.brains.scans[name])
    if sources.lesions is not None:
        _masks_of(cases[0], sources, request)


def _make_case(
    out: Path, case: PlannedCase, prepared: tuple[Brain, Region], sources: Sources, request: Request
) -> None:
    brain, allowed = prepared
    rng = case.rng()
    masks: list[str] = []
    if sources.lesions is None:
        lesions = draw_lesions(brain, allowed, split_load(case.load_mm3, rng), rng)
    else:
        hand = _masks_of(case, sources, request)
        lesions, masks = fit_masks(brain, allowed, hand, case.load_mm3, rng)
        if not bool(lesions.any()):
            tried = f"{len(masks)} masks ({', '.join(masks[:3])})"
            raise CaseError(f"{sources.lesions}: none of {tried} lies in the brain, expected masks in MNI152 space")
    look = draw_look(case.load_mm3, case.scanner(rng), REAL_STRENGTH if case.brain else TEMPLATE_STRENGTH, rng)
    made = simulate_case(brain, lesions, look, rng)
    places = places_of(out, case)
    _write_volumes(places, made, brain, request.grid)
    write_json(places.facts, {**case_facts(case, made, masks), **asdict(look)})


def _masks_of(case: PlannedCase, sources: Sources, request: Request) -> list[RealMask]:
    assert sources.lesions is not None
    people = None if sources.brains is None else len(sources.brains.people)
    hand = deal_masks(case, sources.masks, people, reserve=request.unlabelled > 0)
    return [read_mask(path, sources.lesions) for path in hand]


def _write_volumes(places: Places, made: SimulatedCase, brain: Brain, grid: Grid) -> None:
    for path, part in ((places.mask, made.mask), (places.scan, store(made.scan, made.coverage))):
        whole = np.zeros(grid.shape, bool if path == places.mask else np.uint8)
        whole[brain.box] = part.cpu().numpy()
        write_image(path, whole, grid.affine)
