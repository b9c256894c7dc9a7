"""Preprocessed volumes of a run's cases, made once and kept for every member."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mapping_stroke.console import track
from mapping_stroke.dataset.cases import Case
from mapping_stroke.dataset.preprocess import PreprocessSpec, prepare_mask, prepare_scan
from mapping_stroke.dataset.volumes import Volume, has_volume, read_volume, write_volume
from mapping_stroke.files import fingerprint
from mapping_stroke.image import read_image
from mapping_stroke.run_folder import RunFolder

READERS = 2
"""Threads that read and unpack scans; most of that time is outside Python's lock."""


def volumes_of(run: RunFolder, cases: Sequence[Case], spec: PreprocessSpec) -> dict[str, Volume]:
    """The preprocessed volume of every labelled case, by case id; what is there already is not made again."""
    folder = run.arrays / fingerprint(spec.to_json())
    labelled = [(case.case_id, case.scan, case.mask) for case in cases if case.mask is not None]
    return make_volumes(folder, labelled, spec)


def make_volumes(folder: Path, cases: Sequence[tuple[str, Path, Path]], spec: PreprocessSpec) -> dict[str, Volume]:
    """Prepare (case id, scan, mask) triples into a folder, and map all of them into memory."""
    missing = [case for case in cases if not has_volume(folder, case[0])]
    with ThreadPoolExecutor(READERS) as pool:
        made = pool.map(lambda case: _make_volume(folder, case, spec), missing)
        for _ in track(made, f"Preparing scans at {spec.spacing_mm:g} mm", len(missing)):
            pass
    return {case_id: read_volume(folder, case_id) for case_id, _, _ in cases}


def _make_volume(folder: Path, case: tuple[str, Path, Path], spec: PreprocessSpec) -> None:
    case_id, scan, mask = case
    prepared = prepare_scan(read_image(scan), spec)
    write_volume(folder, case_id, prepared.voxels, prepare_mask(read_image(mask), prepared))
