"""The stage `folds`: give every labelled case its fold, and show how evenly the folds share the lesion loads."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mapping_stroke.console import name_files, say
from mapping_stroke.dataset.cases import Case, labelled_loads, read_cases
from mapping_stroke.dataset.folds import (
    fold_distances,
    largest_fold_distance,
    random_folds,
    read_folds,
    require_whole_groups,
    size_balanced_folds,
    write_folds,
)
from mapping_stroke.errors import FoldsError, RunFolderError
from mapping_stroke.files import write_csv
from mapping_stroke.run_folder import RunFolder, read_identity, write_section
from mapping_stroke.stages.environments import recorder
from mapping_stroke.stages.settings import FoldsConfig
from mapping_stroke.work import StageResult

AS_USUAL = FoldsConfig()

BALANCE_COLUMNS = ("split_kind", "fold", "cases", "ks_distance")
"""Of `balance.csv`; `split_kind` is `size-balanced` or `given`, and `random` for comparison."""


def folds_run(run: RunFolder, config: FoldsConfig = AS_USUAL) -> StageResult:
    """Write `folds.csv`, `balance.csv` and a figure of the folds' loads; unlabelled scans get no fold.

    Args:
        run: After `prepare`.
        config: Number of folds and seed, or a file with an assignment (see `read_folds`), for which they are not used.

    Raises:
        RunFolderError: `prepare` has not run, or networks were trained with other folds.
        FoldsError: The folds cannot be made, or the given ones do not fit.
    """
    given = config.folds
    read_identity(run.path)
    cases = read_cases(run.require(run.cases_csv, "prepare DATA -o"))
    loads = labelled_loads(cases)
    labelled = [case for case in cases if case.mask]
    subjects = {case.case_id: case.subject for case in labelled}
    groups = _sites(labelled) if config.group_by == "site" else subjects
    if given is None:
        assignment = size_balanced_folds(loads, config.number, config.seed, groups)
    else:
        assignment = read_folds(given, labelled)
    require_whole_groups(assignment, groups, config.group_by)
    require_whole_groups(assignment, subjects)
    _require_untrained(run, labelled, assignment)
    kind = "size-balanced" if given is None else "given"
    chance = random_folds(loads, len(set(assignment.values())), config.seed, groups)
    _write(run, loads, {kind: assignment, "random": chance})
    _record(run, config)
    recorder(run.environments("folds"))()
    sizes = np.unique(list(assignment.values()), return_counts=True)[1]
    say(
        f"{len(loads)} labelled cases in {sizes.size} folds ({kind}) of {sizes.min()} to {sizes.max()} cases; "
        f"each {config.group_by} in one fold"
    )
    _report_balance(run, largest_fold_distance(loads, assignment), largest_fold_distance(loads, chance))
    return StageResult((run.folds_csv, run.balance_csv))


def _record(run: RunFolder, config: FoldsConfig) -> None:
    """Record the settings that made the folds; the seed and the number of drawn ones do not apply to given ones."""
    drawn = {"number": config.number, "seed": config.seed} if config.folds is None else {"folds": str(config.folds)}
    write_section(run.config_toml, "folds", {**drawn, "group_by": config.group_by})


def _report_balance(run: RunFolder, distance: float, random_distance: float) -> None:
    say(
        f"largest Kolmogorov-Smirnov distance between a fold's loads and the rest: {distance:.4f} "
        f"(a random split: {random_distance:.4f})"
    )
    name_files("folds", run.folds_csv)
    name_files("balance", run.balance_csv, _figure(run))


def _figure(run: RunFolder) -> Path:
    return run.balance_csv.with_name("balance.png")


def _sites(labelled: Sequence[Case]) -> dict[str, str]:
    unknown = [case.case_id for case in labelled if not case.site]
    if unknown:
        raise FoldsError(
            f"the site of {len(unknown)} of {len(labelled)} cases is unknown (first {unknown[0]}); "
            "give it in participants.tsv and run `mapping prepare` again, or group by subject"
        )
    return {case.case_id: case.site for case in labelled}


def _require_untrained(run: RunFolder, labelled: Sequence[Case], assignment: Mapping[str, int]) -> None:
    """Refuse to change folds under networks that were trained with them: they would be tested on known cases."""
    if not run.members.is_dir() or not run.folds_csv.is_file():
        return
    try:
        same = read_folds(run.folds_csv, labelled) == assignment
    except FoldsError:
        same = False
    if not same:
        raise RunFolderError(
            f"{run.path}: networks were trained with other folds; give the same folds again, or start a new run folder"
        )


def _write(run: RunFolder, loads: Mapping[str, int], assignments: Mapping[str, Mapping[str, int]]) -> None:
    """Write the first assignment, and the balance of all."""
    from mapping_stroke.report.distributions import draw_fold_balance

    assignment, *_ = assignments.values()
    rows = [
        {
            "split_kind": kind,
            "fold": fold,
            "cases": sum(its_fold == fold for its_fold in its.values()),
            "ks_distance": round(distance, 6),
        }
        for kind, its in assignments.items()
        for fold, distance in fold_distances(loads, its).items()
    ]
    write_folds(run.folds_csv, assignment)
    write_csv(run.balance_csv, BALANCE_COLUMNS, rows)
    draw_fold_balance(loads, assignment, _figure(run))
