"""How many members are worth their time: Dice of ensembles of 1, 2, 4, ... members on a hold-out, and their cost."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

from tyro.conf import Positional, arg

from benchmarks.benchmark import Benchmark, require_at_least
from benchmarks.budget_rows import EnsembleDice, Row, dice_by_rule, dice_of_group, make_rows
from benchmarks.budget_text import TABLE_COLUMNS, Cost, describe_rows, row_values
from benchmarks.ensembles import (
    Group,
    greedy_groups,
    groups_chosen_elsewhere,
    random_groups,
    scheme_and_fold_groups,
)
from benchmarks.heading import describe_head
from benchmarks.member_maps import HoldOut, predict_hold_out
from mapping_stroke.console import counted, say
from mapping_stroke.errors import CaseError, ConfigError, RunFolderError
from mapping_stroke.files import read_csv, read_object, write_csv
from mapping_stroke.inference.engines import choose_engine
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.segmentation import choose_rule
from mapping_stroke.inference.sliding_window import ALL_AXES, WindowConfig
from mapping_stroke.names import RuleName
from mapping_stroke.networks.bundle import open_bundle
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.member_folder import find_members
from mapping_stroke.run_folder import RunFolder
from mapping_stroke.stages.report import says_simulated

TITLE = "Dice and cost by number of members"
SEED = 0
"""Of the random orders."""
ORDERS = 50


@dataclass(frozen=True)
class Budget(Benchmark):
    """Measure what each member of a run adds to the ensemble, on cases that none has seen, and what it costs."""

    run_folder: Positional[Path]
    """Run folder with two or more trained members."""
    hold_out: Positional[Path]
    """Data set with masks, of people other than the run's, in any layout that `mapping prepare` reads."""
    rule: RuleName = "mapping"
    """Post-processing of the ensembles; Dice at P > 0.5 is also given."""
    orders: int = ORDERS
    """Number of random orders of the members."""
    mirror: bool = False
    """As for `mapping predict`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    work: Path | None = None
    """Folder for the maps of single members. Default: RUN_FOLDER-budget, next to the run."""
    table: Annotated[Path | None, arg(metavar="FILE")] = None
    """Also write all rows as CSV."""

    def __post_init__(self) -> None:
        require_at_least("--orders", self.orders)

    def report(self) -> str:
        """Predict the hold-out with every member, and list the ensembles by their number of members."""
        result = bench_budget(self)
        if self.table is not None:
            rows = [row_values(row, result.cost) for row in result.rows]
            write_csv(self.table, TABLE_COLUMNS, rows)
        return describe_budget(result, self)


@dataclass(frozen=True)
class BudgetResult:
    """Results of the benchmark.

    Attributes:
        rows: A row for each group of ensembles.
        cost: What members cost.
        cards: The members.
        people: The person of each scored case.
        loads_ml: Lesion volume of each scored case.
        failed: Reason why each failed case failed, by its name.
        engine: Engine of the prediction.
        simulated: Whether the hold-out is declared as simulated.
    """

    rows: tuple[Row, ...]
    cost: Cost
    cards: tuple[MemberCard, ...]
    people: tuple[str, ...]
    loads_ml: tuple[float, ...]
    failed: Mapping[str, str]
    engine: str
    simulated: bool


def bench_budget(bench: Budget) -> BudgetResult:
    """Predict every case with every member, and score the ensembles.

    Raises:
        CaseError: No case could be predicted.
        ConfigError: The run has one member, or a scan of the hold-out is one of the run's own.
        RunFolderError: There is no trained member, or the work folder holds something else.
    """
    run = RunFolder(bench.run_folder)
    if not find_members(run.members):
        raise RunFolderError(f"{run.members}: holds no trained member; run `mapping train {run.path}` first")
    bundle = open_bundle(run.members)
    cards = tuple(member.card for member in bundle.card.members)
    if len(cards) < 2:
        raise ConfigError(f"{run.path}: has one trained member, expected two or more; train more schemes or folds")
    engine = choose_engine(bench.device)
    ensemble = Ensemble(bundle, engine, WindowConfig(mirror=ALL_AXES if bench.mirror else ()))
    say(f"Predicting {bench.hold_out} with {len(cards)} members on {engine.description}, one after the other")
    work = bench.work or run.path.with_name(f"{run.path.resolve().name}-budget")
    hold_out = predict_hold_out(run, bench.hold_out, ensemble, work)
    if not hold_out.files:
        raise CaseError(f"{bench.hold_out}: no case could be predicted, see above")
    files, people = hold_out.files, hold_out.people
    dice_of = EnsembleDice(files)
    groups = _groups(cards, people, dice_of, bench.orders)
    by_rule = dice_by_rule(files, groups, choose_rule(bundle, bench.rule))
    scores = [(dice_of_group(group, dice_of), after) for group, after in zip(groups, by_rule, strict=True)]
    rows = tuple(make_rows(groups, scores, people))
    return BudgetResult(
        rows,
        _cost(run, cards, hold_out),
        cards,
        people,
        tuple(dice_of.loads_ml),
        hold_out.failed,
        engine.description,
        simulated=bool(says_simulated(read_object(bench.hold_out / "dataset_description.json"))),
    )


def _groups(cards: tuple[MemberCard, ...], people: tuple[str, ...], dice_of: EnsembleDice, orders: int) -> list[Group]:
    cases, names = len(people), [card.name for card in cards]
    return [
        *random_groups(len(cards), orders, SEED, cases),
        *greedy_groups(names, dice_of, cases),
        *groups_chosen_elsewhere(len(cards), dice_of, people),
        *scheme_and_fold_groups(cards, cases),
    ]


def _cost(run: RunFolder, cards: tuple[MemberCard, ...], hold_out: HoldOut) -> Cost:
    return Cost(tuple(_training_s(run, card) for card in cards), hold_out.seconds)


def _training_s(run: RunFolder, card: MemberCard) -> float:
    """Seconds of all epochs of a member, with validation; NaN if the run does not say."""
    path = run.member(card.scheme, card.fold) / "epochs.csv"
    try:
        return sum(float(row["seconds"]) for row in read_csv(path)) or math.nan
    except (OSError, CaseError, KeyError, ValueError):
        return math.nan


def describe_budget(result: BudgetResult, bench: Budget) -> str:
    """The complete report as Markdown."""
    usual = {"--rule": (bench.rule, "mapping"), "--orders": (bench.orders, ORDERS)}
    options = [f" {option} {value}" for option, (value, default) in usual.items() if value != default]
    command = f"python -m benchmarks budget RUN HOLD_OUT{''.join(options)}{' --mirror' if bench.mirror else ''}"
    simulated = ["Simulated data: these scores do not show how well the members segment patients.", ""]
    lines = [
        *describe_head(TITLE, command, ("torch",), device=bench.device),
        *(simulated if result.simulated else ()),
        _describe_cases(result),
        "",
        f"{len(result.cards)} members that saw none of them: {_describe_members(result.cards)}; on {result.engine}.",
        "",
        *describe_rows(result.rows, result.cost, bench.rule, bench.orders),
    ]
    return "\n".join([*lines, ""])


def _describe_cases(result: BudgetResult) -> str:
    loads = result.loads_ml
    failed = f"; {counted(len(result.failed), 'case')} failed" if result.failed else ""
    return (
        f"{counted(len(result.people), 'case')} of {len(set(result.people))} people, lesions of {min(loads):.3g} to "
        f"{max(loads):.3g} mL (median {median(loads):.3g}){failed}."
    )


def _describe_members(cards: tuple[MemberCard, ...]) -> str:
    schemes = list(dict.fromkeys(card.scheme for card in cards))
    folds = {card.fold for card in cards}
    sizes = {str(card.training.get("size", "unknown")) for card in cards}
    epochs = {int(card.training.get("epochs", 0)) for card in cards}
    return (
        f"{counted(len(schemes), 'scheme')} ({', '.join(schemes)}) on {counted(len(folds), 'fold')}, size "
        f"{' and '.join(sorted(sizes))}, {' to '.join(map(str, sorted({min(epochs), max(epochs)})))} epochs"
    )
