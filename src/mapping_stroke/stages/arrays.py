"""Preprocessed arrays of the cases of a run, computed once for all members."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from mapping_stroke.console import track
from mapping_stroke.dataset.arrays import CaseArrays, has_arrays, read_all_arrays, write_arrays
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_mask, prepare_scan
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.errors import ImageError
from mapping_stroke.files import fingerprint
from mapping_stroke.images.image import read_image
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.prepare import CONTENTS_FILE, READERS, content_hashes
from mapping_stroke.stages.provenance import data_hash

ARRAYS_FORMAT = 3
"""Increased whenever the same scan gives other arrays."""
LabelledScan = tuple[str, Path, Path]
"""Case id, scan, mask."""


def arrays_of(run: RunFolder, cases: Sequence[Case], spec: PreprocessSpec) -> dict[str, CaseArrays]:
    """The preprocessed arrays of every labelled case, by case id; existing arrays are reused."""
    return make_arrays(run.arrays / fingerprint(way_of(spec)), _labelled(cases), spec)


def way_of(spec: PreprocessSpec) -> dict[str, object]:
    """Everything that determines how arrays are computed from a scan, including the format, as plain JSON values."""
    return spec.to_json() | {"format": ARRAYS_FORMAT}


def labelled_contents(run: RunFolder, cases: Sequence[Case]) -> str:
    """One short hash of the contents of all labelled scans and masks; raises as `content_hashes` does."""
    return data_hash(_marks_of(run.arrays, _labelled(cases)))


def make_arrays(
    folder: Path, cases: Sequence[LabelledScan], spec: PreprocessSpec, scans: Path | None = None
) -> dict[str, CaseArrays]:
    """Preprocess cases into a folder and map all of them into memory, by case id.

    Each case has a subfolder, in which arrays are named by the contents of scan and mask, so that those of a corrected
    case are computed again. Several processes may do this at the same time: each skips the cases that another has
    finished. Nothing is removed, because another training may have older arrays mapped.

    Args:
        folder: Folder of the arrays, next to the ledger of the files' contents.
        cases: The cases.
        spec: The preprocessing.
        scans: Folder of the scans' arrays if there are other masks of the same scans, in other folders: each scan is
            then stored once. None: every mask has its scan next to it.
    """
    marks = _marks_of(folder.parent, cases)
    shared = {} if scans is None else _shared_scans(scans, cases, folder.parent)
    missing = [case for case in cases if not has_arrays(folder / case[0], marks[case[0]], shared.get(case[0]))]
    with ThreadPoolExecutor(READERS) as pool:
        made = pool.map(
            lambda case: _make_case(folder / case[0], case, marks[case[0]], spec, shared.get(case[0])), missing
        )
        edges = spec.edges_mm if isinstance(spec.spacing_mm, tuple) else spec.edges_mm[:1]
        words = " x ".join(f"{edge:g}" for edge in edges)
        for _ in track(made, f"Preparing scans at {words} mm", len(missing)):
            pass
    names = {case_id: f"{case_id}/{marks[case_id]}" for case_id, _, _ in cases}
    scans_of = {names[case_id]: path for case_id, path in shared.items()}
    arrays = read_all_arrays(folder, list(names.values()), scans_of).values()
    return {case[0]: replace(its, case_id=case[0]) for case, its in zip(cases, arrays, strict=True)}


def _labelled(cases: Sequence[Case]) -> list[LabelledScan]:
    return [(case.case_id, case.scan, case.mask) for case in cases if case.mask is not None]


def _marks_of(folder: Path, cases: Sequence[LabelledScan]) -> dict[str, str]:
    return content_hashes(folder / CONTENTS_FILE, {case_id: (scan, mask) for case_id, scan, mask in cases})


def _shared_scans(scans: Path, cases: Sequence[LabelledScan], ledger_folder: Path) -> dict[str, Path]:
    """The file of each scan's array, named by the contents of the scan."""
    marks = content_hashes(ledger_folder / CONTENTS_FILE, {case_id: (scan,) for case_id, scan, _ in cases})
    return {case_id: scans / case_id / f"{mark}_scan.npy" for case_id, mark in marks.items()}


def _make_case(own: Path, case: LabelledScan, mark: str, spec: PreprocessSpec, shared_scan: Path | None) -> None:
    case_id, scan, mask = case
    if has_arrays(own, mark, shared_scan):
        return
    try:
        prepared = prepare_scan(tame_outliers(read_image(scan)), spec)
    except ImageError as error:
        raise ImageError(f"case {case_id}: {error}") from error
    prepared_mask = prepare_mask(read_image(mask), prepared)
    if not has_arrays(own, mark, shared_scan):  # if another process has mapped them by now, they must not be replaced
        write_arrays(own, mark, prepared.voxels, prepared_mask, shared_scan)
