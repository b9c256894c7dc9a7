"""Maps of the single members of a run on cases that none of them has seen, kept on disk, and what they cost."""

import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt16

from mapping_stroke.cohort.segmenter import scan_sha256
from mapping_stroke.dataset.cases import FoundCase
from mapping_stroke.dataset.scan_checks import tame_outliers
from mapping_stroke.errors import CaseError, ConfigError
from mapping_stroke.files import written_whole
from mapping_stroke.images.image import Mask, read_image, read_mask, require_same_grid
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.models.judge import find_labelled, hash_case
from mapping_stroke.run_folder import RunFolder, claim_folder
from mapping_stroke.stages.provenance import read_manifest
from mapping_stroke.stages.report_tables import STEPS
from mapping_stroke.work import ShowShare, for_each_case

MAPS_FORMAT = 1
CONTENTS = ("*.npz",)


@dataclass(frozen=True, eq=False)
class MemberMaps:
    """The maps of all members on one case, on the scan's own grid.

    Attributes:
        steps: P(lesion) of each member in `STEPS` steps from 0 to 1, as stored maps have four decimals.
        reference: The lesions.
        voxel_volume_mm3: Volume of one voxel.
    """

    steps: UInt16[np.ndarray, "member x y z"]
    reference: Mask
    voxel_volume_mm3: float

    @property
    def inside(self) -> Bool[np.ndarray, "x y z"]:
        """Voxels in which any member exceeds 0.5; no mean does elsewhere."""
        return np.asarray((self.steps > STEPS // 2).any(axis=0))


@dataclass(frozen=True)
class HoldOut:
    """Cases that no member has seen, and the files of their maps.

    Attributes:
        people: The person of each case.
        files: The file of each case, for `read_maps`.
        seconds: For each case, the seconds of reading and preprocessing it, and those of each member, from the
            preprocessed scan to the map on the scan's grid.
        failed: Reason why each failed case failed, by its name; those are left out of the others.
    """

    people: tuple[str, ...]
    files: tuple[Path, ...]
    seconds: tuple[tuple[float, tuple[float, ...]], ...]
    failed: Mapping[str, str]


def predict_hold_out(run: RunFolder, cohort: Path, ensemble: Ensemble, work: Path) -> HoldOut:
    """Predict the labelled cases of a cohort with every member once; maps of the same weights and files are kept.

    Args:
        run: The run of the members.
        cohort: Data set with masks, in any layout that `prepare` reads.
        ensemble: The members on an engine.
        work: Folder of the maps, one file for each case.

    Raises:
        CaseError: There is no labelled case, or the only one failed.
        ConfigError: A scan is one of the run's own.
        RunFolderError: The folder holds something else.
    """
    cases, unusable = find_labelled(cohort)
    _require_unseen(run, cases)
    how = {"mirror": bool(ensemble.window.mirror), "precision": ensemble.engine.precision, "format": MAPS_FORMAT}
    claim_folder(work, {"kind": "bench", "command": "budget", **how}, CONTENTS)
    files = {case.case_id: work / f"{case.case_id}.npz" for case in cases}
    ensemble.warm_up()
    failed = for_each_case(
        {case.case_id: case for case in cases},
        "Predicting",
        lambda case, show: _predict(case, ensemble, files[case.case_id], show),
    )
    done = [case for case in cases if case.case_id not in failed]
    people = tuple(case.subject or case.case_id for case in done)
    stored = tuple(files[case.case_id] for case in done)
    problems = dict.fromkeys(unusable, "has problems, see above") | failed
    return HoldOut(people, stored, tuple(map(_read_seconds, stored)), problems)


def _require_unseen(run: RunFolder, cases: list[FoundCase]) -> None:
    """Refuse scans that the run holds: its members may have been trained on them."""
    own = {hashes: case_id for (case_id, image), hashes in read_manifest(run.data_csv).items() if image == "scan"}
    for case in cases:
        if known := own.get((scan_sha256(case.scan),)):
            raise ConfigError(
                f"{case.scan}: is the case {known} of {run.path}, expected scans that no member has seen; give a "
                "cohort of other people"
            )


def _predict(case: FoundCase, ensemble: Ensemble, file: Path, show: ShowShare) -> None:
    mark, weights = hash_case(case), [member.weights_sha256 for member in ensemble.members]
    stored, known = _read_known(file, mark)
    if stored == weights:
        return
    start = time.perf_counter()
    scan = read_image(case.scan)
    prepared = ensemble.prepare(tame_outliers(scan))
    prepare_s = time.perf_counter() - start
    if case.mask is None:
        raise CaseError("it has no reference mask")
    reference, mask = read_mask(case.mask)
    require_same_grid(mask, scan, (f"{case.mask}: the mask", "its scan"), "resample it onto the scan")
    missing = [member for member in ensemble.members if member.weights_sha256 not in known]
    for number, member in enumerate(missing):
        show(number / len(missing))
        start = time.perf_counter()
        probability = prepared[member.card.preprocess].restore(ensemble.predict_member(member, prepared))
        steps = np.rint(probability * STEPS).astype(np.uint16)
        known[member.weights_sha256] = (steps, time.perf_counter() - start)
    with written_whole(file) as unfinished, unfinished.open("wb") as stream:
        np.savez_compressed(
            stream,
            mark=np.array(mark),
            weights=np.array(weights),
            steps=np.array([known[each][0] for each in weights]),
            member_s=np.array([known[each][1] for each in weights]),
            reference=reference,
            voxel_volume_mm3=np.array(scan.voxel_volume_mm3),
            prepare_s=np.array(prepare_s),
        )


def _read_known(file: Path, mark: str) -> tuple[list[str], dict[str, tuple[UInt16[np.ndarray, "x y z"], float]]]:
    """Hashes of the stored members' weights, and map and seconds by hash; empty if the case's files have changed."""
    try:
        with np.load(file) as stored:
            if str(stored["mark"]) != mark:
                return [], {}
            weights: list[str] = stored["weights"].tolist()
            values = zip(stored["steps"], stored["member_s"].tolist(), strict=True)
            return weights, dict(zip(weights, values, strict=True))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):  # missing or damaged
        return [], {}


def read_maps(file: Path) -> MemberMaps:
    """The maps of one case, as `predict_hold_out` stored them."""
    with np.load(file) as stored:
        return MemberMaps(stored["steps"], stored["reference"], float(stored["voxel_volume_mm3"]))


def _read_seconds(file: Path) -> tuple[float, tuple[float, ...]]:
    with np.load(file) as stored:
        return float(stored["prepare_s"]), tuple(stored["member_s"].tolist())
