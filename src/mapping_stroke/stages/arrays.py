"""Preprocessed arrays of a run's cases, made once and kept for every member."""

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

ARRAYS_FORMAT = 3
"""Until 2, voxels that were touched counted wholly in means; until 3, outlying intensities were kept."""
LabelledScan = tuple[str, Path, Path]
"""Case id, scan, mask."""


def arrays_of(run: RunFolder, cases: Sequence[Case], spec: PreprocessSpec) -> dict[str, CaseArrays]:
    """The preprocessed arrays of every labelled case, by case id; what is there already is not made again."""
    return make_arrays(run.arrays / fingerprint(mark_way(spec)), _labelled(cases), spec)


def mark_way(spec: PreprocessSpec) -> dict[str, object]:
    """What decides how arrays are made of a scan, this version's way included, as plain JSON values."""
    return spec.to_json() | {"format": ARRAYS_FORMAT}


def labelled_contents(run: RunFolder, cases: Sequence[Case]) -> str:
    """One short mark of what the scans and masks of all labelled cases hold; raises as `content_hashes` does."""
    return fingerprint(_marks_of(run.arrays, _labelled(cases)))


def make_arrays(folder: Path, cases: Sequence[LabelledScan], spec: PreprocessSpec) -> dict[str, CaseArrays]:
    """Prepare cases into a folder, and map all of them into memory, by case id.

    Each case has a subfolder, in which arrays are named by what scan and mask held: those of a case that was corrected
    are made anew. Several processes may do so at once: each passes over what another has finished meanwhile. Nothing
    is removed: a training of another process, or on another machine, may have older arrays mapped.
    """
    marks = _marks_of(folder.parent, cases)
    missing = [case for case in cases if not has_arrays(folder / case[0], marks[case[0]])]
    with ThreadPoolExecutor(READERS) as pool:
        made = pool.map(lambda case: _make_case(folder, case, marks[case[0]], spec), missing)
        edges = spec.edges_mm if isinstance(spec.spacing_mm, tuple) else spec.edges_mm[:1]
        words = " x ".join(f"{edge:g}" for edge in edges)
        for _ in track(made, f"Preparing scans at {words} mm", len(missing)):
            pass
    arrays = read_all_arrays(folder, [f"{case_id}/{marks[case_id]}" for case_id, _, _ in cases]).values()
    return {case[0]: replace(its, case_id=case[0]) for case, its in zip(cases, arrays, strict=True)}


def _labelled(cases: Sequence[Case]) -> list[LabelledScan]:
    return [(case.case_id, case.scan, case.mask) for case in cases if case.mask is not None]


def _marks_of(folder: Path, cases: Sequence[LabelledScan]) -> dict[str, str]:
    return content_hashes(folder / CONTENTS_FILE, {case_id: (scan, mask) for case_id, scan, mask in cases})


def _make_case(folder: Path, case: LabelledScan, mark: str, spec: PreprocessSpec) -> None:
    case_id, scan, mask = case
    own = folder / case_id
    if has_arrays(own, mark):
        return
    try:
        prepared = prepare_scan(tame_outliers(read_image(scan)), spec)
    except ImageError as error:
        raise ImageError(f"case {case_id}: {error}") from error
    prepared_mask = prepare_mask(read_image(mask), prepared)
    if not has_arrays(own, mark):  # another process may have mapped them by now: they must not be replaced
        write_arrays(own, mark, prepared.voxels, prepared_mask)
