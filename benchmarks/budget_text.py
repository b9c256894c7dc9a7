"""Tables of ensembles by number of members, as Markdown and as rows of a CSV file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from benchmarks.budget_rows import Row
from benchmarks.ensembles import CHOSEN_ELSEWHERE, ONE_FOLD
from mapping_stroke.console import duration
from mapping_stroke.evaluation.cohorts import Estimate
from mapping_stroke.evaluation.contributions import GREEDY, RANDOM

TABLE_COLUMNS = (
    "order",
    "members",
    "which",
    "ensembles",
    "cases",
    "dice_mean",
    "dice_low",
    "dice_high",
    "worst_ensemble",
    "best_ensemble",
    "gain_mean",
    "gain_low",
    "gain_high",
    "minus_all_mean",
    "minus_all_low",
    "minus_all_high",
    "rule_dice_mean",
    "rule_dice_low",
    "rule_dice_high",
    "train_s",
    "predict_s",
)


@dataclass(frozen=True)
class Cost:
    """Measured times.

    Attributes:
        training_s: Training time of each member; NaN if not recorded.
        prediction_s: For each case, the seconds of reading and preprocessing, and those of each member.
    """

    training_s: tuple[float, ...]
    prediction_s: tuple[tuple[float, tuple[float, ...]], ...]

    def train_s(self, members: int) -> float:
        """Training time of as many mean members, one after the other; NaN if that of a member is not recorded."""
        return members * fmean(self.training_s)

    def predict_s(self, members: int) -> float:
        """Time of a case with as many mean members: the median over the cases."""
        return median(prepare_s + members * fmean(each_s) for prepare_s, each_s in self.prediction_s)


def row_values(row: Row, cost: Cost) -> dict[str, object]:
    """The row for the CSV file; undefined values are None."""
    group = row.group
    values: dict[str, object] = {
        "order": group.order,
        "members": group.members,
        "which": group.which,
        "ensembles": len(group.ensembles),
        "cases": row.dice.cases,
        "worst_ensemble": row.lowest,
        "best_ensemble": row.highest,
    }
    estimates = {"dice": row.dice, "gain": row.gain, "minus_all": row.minus_all, "rule_dice": row.by_rule}
    for name, estimate in estimates.items():
        for part in ("mean", "low", "high"):
            values[f"{name}_{part}"] = math.nan if estimate is None else getattr(estimate, part)
    values |= {"train_s": cost.train_s(group.members), "predict_s": cost.predict_s(group.members)}
    return {
        column: None if isinstance(values[column], float) and math.isnan(values[column]) else values[column]  # type: ignore[arg-type]
        for column in TABLE_COLUMNS
    }


def describe_rows(rows: Sequence[Row], cost: Cost, rule: str, orders: int) -> list[str]:
    """Three tables as Markdown: by number of members, in greedy order, by scheme and fold."""
    of = {order: [row for row in rows if row.group.order == order] for order in (RANDOM, GREEDY)}
    rest = [row for row in rows if row.group.order not in of]
    after = f"Dice, rule `{rule}`"
    return [
        "## Number of members",
        "",
        f"Mean over {orders} random orders of the members, of which the first 1, 2, 4, ... are averaged.",
        "",
        f"| members | Dice, P > 0.5 | gain over the row before | worst to best order | {after} | training | a scan |",
        "|---:|---|---|---|---|---:|---:|",
        *(_random_line(row, cost) for row in of[RANDOM]),
        "",
        "## Greedy order",
        "",
        "The member that raises the mean Dice of these cases most is added next, so these values are too good for "
        "other cases.",
        "",
        f"| members | added | Dice, P > 0.5 | gain | {after} |",
        "|---:|---|---|---|---|",
        *(_greedy_line(row) for row in of[GREEDY]),
        "",
        "## Chosen on other people, schemes, folds",
        "",
        "`greedy on other cases`: the first members of the greedy order of one half of the people, scored on the other "
        "half.",
        "",
        f"| members | which | Dice, P > 0.5 | minus all members | {after} |",
        "|---:|---|---|---|---|",
        *(_group_line(row) for row in rest),
        "",
        "In brackets: 95 % bootstrap intervals over people, paired by case for gains and differences. Training: the "
        f"recorded epochs of as many mean members, one after the other ({_spread(cost)}). A scan: median over the "
        "cases of reading, preprocessing, and as many mean members.",
    ]


def _random_line(row: Row, cost: Cost) -> str:
    members = row.group.members
    spread = "" if len(row.group.ensembles) == 1 else f"{row.lowest:.3f} to {row.highest:.3f}"
    return _line(
        members,
        _words(row.dice),
        _words(row.gain, "+"),
        spread,
        _words(row.by_rule),
        _time(cost.train_s(members)),
        f"{cost.predict_s(members):.2f} s",
    )


def _greedy_line(row: Row) -> str:
    return _line(row.group.members, row.group.which, _words(row.dice), _words(row.gain, "+"), _words(row.by_rule))


def _group_line(row: Row) -> str:
    group = row.group
    which = {
        CHOSEN_ELSEWHERE: CHOSEN_ELSEWHERE,
        ONE_FOLD: f"{group.which}: one fold, mean of {len(group.ensembles)} ({row.lowest:.3f} to {row.highest:.3f})",
    }.get(group.order, f"{group.which}: all folds")
    return _line(group.members, which, _words(row.dice), _words(row.minus_all, "+"), _words(row.by_rule))


def _line(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _words(estimate: Estimate | None, sign: str = "") -> str:
    if estimate is None:
        return ""
    mean = f"{estimate.mean:{sign}.3f}"
    if math.isnan(estimate.low):
        return mean
    return f"{mean} [{estimate.low:{sign}.3f}, {estimate.high:{sign}.3f}]"


def _time(seconds: float) -> str:
    return "not recorded" if math.isnan(seconds) else duration(seconds)


def _spread(cost: Cost) -> str:
    if any(map(math.isnan, cost.training_s)):
        return "not recorded for some"
    return f"one: {duration(min(cost.training_s))} to {duration(max(cost.training_s))}"
