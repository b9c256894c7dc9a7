"""Preprocessed arrays of a run's cases, made once and kept for every member."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mapping_stroke.console import name_files, track
from mapping_stroke.dataset.arrays import CaseArrays, has_arrays, read_all_arrays, write_arrays
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_mask, prepare_scan
from mapping_stroke.errors import ImageError
from mapping_stroke.files import fingerprint
from mapping_stroke.image import read_image
from mapping_stroke.run_folder import RunFolder

READERS = 2
"""Threads that read and unpack scans; most of that time is outside Python's lock."""


def arrays_of(run: RunFolder, cases: Sequence[Case], spec: PreprocessSpec) -> dict[str, CaseArrays]:
    """The preprocessed arrays of every labelled case, by case id; what is there already is not made again."""
    folder = run.arrays / fingerprint(spec.to_json())
    labelled = [(case.case_id, case.scan, case.mask) for case in cases if case.mask is not None]
    return make_arrays(folder, labelled, spec)


def arrays_run(run: RunFolder, specs: Iterable[PreprocessSpec]) -> Path:
    """Prepare the arrays that members read, and train nothing: the first of several jobs.

    Args:
        run: After `prepare`.
        specs: Every way in which they read a scan.

    Returns:
        Folder of the arrays.

    Raises:
        RunFolderError: `prepare` has not run.
    """
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    for spec in specs:
        arrays_of(run, cases, spec)
    name_files("Arrays", run.arrays)
    return run.arrays


def make_arrays(folder: Path, cases: Sequence[tuple[str, Path, Path]], spec: PreprocessSpec) -> dict[str, CaseArrays]:
    """Prepare (case id, scan, mask) triples into a folder, and map all of them into memory.

    Several processes may do so at once: each passes over what another has finished meanwhile.
    """
    missing = [case for case in cases if not has_arrays(folder, case[0])]
    with ThreadPoolExecutor(READERS) as pool:
        made = pool.map(lambda case: _make_case(folder, case, spec), missing)
        edges = spec.edges_mm if isinstance(spec.spacing_mm, tuple) else spec.edges_mm[:1]
        words = " x ".join(f"{edge:g}" for edge in edges)
        for _ in track(made, f"Preparing scans at {words} mm", len(missing)):
            pass
    return read_all_arrays(folder, [case_id for case_id, _, _ in cases])


def _make_case(folder: Path, case: tuple[str, Path, Path], spec: PreprocessSpec) -> None:
    case_id, scan, mask = case
    if has_arrays(folder, case_id):
        return
    try:
        prepared = prepare_scan(read_image(scan), spec)
    except ImageError as error:
        raise ImageError(f"case {case_id}: {error}") from error
    prepared_mask = prepare_mask(read_image(mask), prepared)
    if not has_arrays(folder, case_id):  # another process may have mapped them by now: they must not be replaced
        write_arrays(folder, case_id, prepared.voxels, prepared_mask)
