"""Which masks of a run, or of any folder, are compared with which references."""

from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.config import write_section
from mapping_stroke.console import warn
from mapping_stroke.dataset.cases import Case, read_cases
from mapping_stroke.dataset.folds import read_folds
from mapping_stroke.errors import CaseError, RunFolderError
from mapping_stroke.evaluation.profiles import Profile, find_profile
from mapping_stroke.evaluation.tables import order_methods
from mapping_stroke.experiment.score_files import Comparison, score_files
from mapping_stroke.files import given_name, list_files, may_be_file
from mapping_stroke.image import IMAGE_SUFFIXES, image_stem, image_suffix
from mapping_stroke.run_folder import ENSEMBLE, FINAL, MASK_SUFFIX, PROBABILITY_SUFFIX, RunFolder

BIDS_BRAIN = "_desc-brain_mask.nii.gz"
"""How the names of brain masks of BIDS derivatives end, which are no masks of lesions."""


def evaluate_run(run: RunFolder, profile: str = "atlas2022") -> list[str]:
    """Score every method's masks of the labelled cases of a run, and summarise them.

    Cases without a mask (their fold has no trained member, say) are left out, and their number is told.

    Args:
        run: A run in which `mapping postprocess` has finished.
        profile: Name of a scoring profile.

    Returns:
        What failed, as `method/case`; empty if all went well.

    Raises:
        ConfigError: Unknown profile.
        RunFolderError: A stage before this one has not finished, or there is no mask of any labelled case.
    """
    chosen = find_profile(profile)
    cases = [case for case in read_cases(run.require(run.cases_csv, "prepare DATA -o")) if case.mask is not None]
    folds = read_folds(run.require(run.folds_csv, "folds"), cases)
    masks = run.require(run.masks(ENSEMBLE).parent, "postprocess")
    comparisons = []
    for method in order_methods(folder.name for folder in masks.iterdir() if folder.is_dir()):
        there = [_compare(run, method, case, folds[case.case_id], chosen) for case in cases]
        found = [comparison for comparison in there if may_be_file(comparison.mask)]
        if len(found) < len(cases):
            warn(f"{method}: {len(cases) - len(found)} of {len(cases)} labelled cases have no mask and are left out")
        comparisons += found
    if not comparisons:
        raise RunFolderError(f"{masks}: holds no mask of a labelled case; run `mapping postprocess {run.path}` first")
    write_section(run.config_toml, "evaluate", {"profile": profile})
    return score_files(comparisons, run.scores_csv.parent, chosen)


def evaluate_folder(masks: Path, references: Path, output: Path, profile: str = "atlas2022") -> list[str]:
    """Score every `<case>_mask.nii.gz` of a folder, and summarise.

    Args:
        masks: See `pair_folders`.
        references: See `pair_folders`.
        output: Folder for `scores.csv` and `summary.csv`.
        profile: Name of a scoring profile.

    Returns:
        What failed, as `method/case`; empty if all went well.

    Raises:
        CaseError: There is no mask, or a mask has no reference or several.
        ConfigError: Unknown profile.
    """
    return score_files(pair_folders(masks, references, profile), output, find_profile(profile))


def pair_folders(masks: Path, references: Path, profile: str) -> list[Comparison]:
    """Find the reference of every mask of a folder; nothing is opened yet.

    Args:
        masks: Folder of `<case>_mask.nii.gz`; its name is the method in the tables. A `<case>_probability.nii.gz`
            beside a mask is used by profiles that score probabilities.
        references: Folder with one image `<case>_mask` or `<case>` for every predicted mask.
        profile: Name of a scoring profile.

    Returns:
        One comparison per mask, by case id.

    Raises:
        CaseError: There is no mask, or a mask has no reference or several.
        ConfigError: Unknown profile.
    """
    chosen, method = find_profile(profile), given_name(masks)
    named = [path for path in list_files(masks, f"*{MASK_SUFFIX}") if not path.name.endswith(BIDS_BRAIN)]
    found = {path.name.removesuffix(MASK_SUFFIX): path for path in named}
    if not found:
        raise CaseError(f"{masks}: holds no <case>{MASK_SUFFIX}; name a folder that `mapping postprocess` wrote")
    images = [path for path in list_files(references, "*") if image_suffix(path)]
    wanted = {case_id: _reference(references, images, case_id) for case_id in found}
    return [
        Comparison(method, case_id, None, mask, wanted[case_id], _probability(masks, case_id, chosen))
        for case_id, mask in found.items()
    ]


def _compare(run: RunFolder, method: str, case: Case, fold: int, profile: Profile) -> Comparison:
    assert case.mask is not None
    maps = run.probabilities(ENSEMBLE if method == FINAL else method)
    mask = run.masks(method) / f"{case.case_id}{MASK_SUFFIX}"
    return Comparison(method, case.case_id, fold, mask, case.mask, _probability(maps, case.case_id, profile))


def _reference(folder: Path, images: Sequence[Path], case_id: str) -> Path:
    fitting = [path for path in images if image_stem(path) in (f"{case_id}_mask", case_id)]
    if len(fitting) != 1:
        raise CaseError(
            f"{folder}: holds {len(fitting)} references of {case_id}, expected one file {case_id}_mask or {case_id} "
            f"with a suffix of {', '.join(IMAGE_SUFFIXES)}; add it, or move the others away"
        )
    return fitting[0]


def _probability(folder: Path, case_id: str, profile: Profile) -> Path | None:
    path = folder / f"{case_id}{PROBABILITY_SUFFIX}"
    return path if profile.scores_probability and may_be_file(path) else None
