"""The paper's tables for a run: each value with its interval and the paper's own, as text, CSV, Markdown and LaTeX."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mapping_stroke.console import aligned, counted
from mapping_stroke.dataset.voxels import VoxelVolumes
from mapping_stroke.evaluation.cohorts import FEWEST_PEOPLE, Estimate, estimate_mean
from mapping_stroke.evaluation.profiles import Metric
from mapping_stroke.evaluation.tables import ALL_FOLDS, CaseScore, summarise
from mapping_stroke.files import none_if_nan, write_csv, write_text
from mapping_stroke.report.style import method_label
from mapping_stroke.report.tables import (
    NONE,
    Cell,
    Table,
    bracketed,
    explain,
    make_table,
    read_paper_tables,
    stacked_head,
    table_rows,
)

INTERVAL, PAPER = "95 % interval", "paper"
"""Labels of the lines below a method."""
SOURCE = "Huo et al. 2022, arXiv:2211.15486"


@dataclass(frozen=True)
class PublishedTable:
    """A table of a run, and the paper's table with the same number.

    Attributes:
        number: 1 for the cross-validation, 2 for the test scans.
        table: The run's, with intervals.
        paper: The paper's, on ATLAS R2.0.
        voxels: Volumes of the run's voxels; None if they are not known.
    """

    number: int
    table: Table
    paper: Table
    voxels: VoxelVolumes | None = None

    @property
    def title(self) -> str:
        """Number and title."""
        return f"Table {self.number}. {self.table.title}"

    @property
    def explanation(self) -> str:
        """What the numbers are."""
        return " ".join(
            [
                f"{explain(self.table)} {INTERVAL}: of the mean, by bootstrap over people; none for fewer than "
                f"{FEWEST_PEOPLE} of them. Lines `{PAPER}`: {SOURCE}, {self.paper.title}; comparable only with a run "
                "on the same cases.",
                *([self.voxel_note] if self.voxel_note else []),
            ]
        )

    @property
    def voxel_note(self) -> str:
        """Why columns in voxels have no values of the paper; empty if they may have them."""
        if not any(map(self._is_other_unit, self.table.metrics)):
            return ""
        assert self.voxels is not None
        return (
            f"A voxel has {self.voxels.of()} mm3 in this run and 1 mm3 in the paper: a number of voxels stands for "
            f"{self.voxels.of()} times the volume here, so it is not comparable with the paper's."
        )

    def _is_other_unit(self, metric: Metric) -> bool:
        """Whether a metric counts voxels, and those of the run are not the paper's."""
        return metric.unit == "vox" and self.voxels is not None and not self.voxels.are_of_atlas

    def paper_cell(self, method: str, metric: Metric) -> Cell | None:
        """The paper's value; None if it has none, or none in the same unit."""
        found = next((row for row in self.paper.rows if row.method == method), None)
        keys = [known.key for known in self.paper.metrics]
        if found is None or metric.key not in keys or self._is_other_unit(metric):
            return None
        cell = found.cells[keys.index(metric.key)]
        return None if math.isnan(cell.mean) else cell

    @property
    def lines(self) -> list["Line"]:
        """All lines below the head: for each method its own, that of its intervals, and the paper's."""
        lines = []
        for row in self.table.rows:
            cells = [f"{cell.text}{bracketed(cell)}" for cell in row.cells]
            lines.append(Line(method_label(row.method), str(row.cases), tuple(cells), row.cells))
            if any(cell.interval for cell in row.cells):
                lines.append(Line(INTERVAL, "", tuple(cell.interval or NONE for cell in row.cells)))
            theirs = [self.paper_cell(row.method, metric) for metric in self.table.metrics]
            if any(theirs):
                texts = tuple(cell.text if cell else NONE for cell in theirs)
                lines.append(Line(PAPER, str(self.paper.rows[0].cases), texts))
        return lines


@dataclass(frozen=True)
class Line:
    """One line of a published table.

    Attributes:
        label: Its first column.
        cases: Its second column.
        texts: Its values.
        own: The cells of the run's own means; empty for the other lines.
    """

    label: str
    cases: str
    texts: tuple[str, ...]
    own: tuple[Cell, ...] = ()

    @property
    def best(self) -> list[bool]:
        """Which values are the best of their column."""
        return [cell.best for cell in self.own] or [False] * len(self.texts)


def publish(
    number: int, scores: Sequence[CaseScore], people: Mapping[str, str], voxels: VoxelVolumes | None = None
) -> PublishedTable:
    """Lay out scores as Table 1 or 2 of the paper.

    Args:
        number: 1: the labelled cases by cross-validation; 2: test scans by all members.
        scores: At least one, all with the same metrics.
        people: Case to person, for the intervals.
        voxels: Volumes of the voxels of these cases; None if they are not known.
    """
    count = len({score.case_id for score in scores})
    folds = len({score.fold for score in scores if score.fold is not None})
    title = f"This run: {counted(count, 'case' if number == 1 else 'test scan')}"
    table = make_table(
        title + (f" in {counted(folds, 'fold')}" if folds else ""), summarise(scores, list(scores[0].values))
    )
    return PublishedTable(number, add_intervals(table, scores, people), read_paper_tables()[number - 1], voxels)


def add_intervals(table: Table, scores: Sequence[CaseScore], people: Mapping[str, str], fold: str = ALL_FOLDS) -> Table:
    """The same table with the 95 % interval of each mean, over the cases of a fold or of all."""
    rows = []
    for row in table.rows:
        own = [s for s in scores if s.method == row.method and fold in (ALL_FOLDS, str(s.fold))]
        estimates = [estimate_scores(own, metric.key, people) for metric in table.metrics]
        cells = (replace(c, low=e.low, high=e.high) for c, e in zip(row.cells, estimates, strict=True))
        rows.append(replace(row, cells=tuple(cells)))
    return replace(table, rows=tuple(rows))


def estimate_scores(scores: Sequence[CaseScore], metric: str, people: Mapping[str, str]) -> Estimate:
    """Mean of a metric with its interval by people; unknown people count as one for each case."""
    ordered = sorted(scores, key=lambda score: score.case_id)
    values = np.array([score.values[metric] for score in ordered], np.float64)
    return estimate_mean(values, [people.get(score.case_id) or score.case_id for score in ordered])


def write_published(published: PublishedTable, folder: Path) -> None:
    """Write a table as `table1.txt`, `.csv`, `.md` and `.tex`, or with its other number."""
    path = folder / f"table{published.number}"
    rows = published_rows(published)
    write_csv(path.with_suffix(".csv"), list(rows[0]), rows)
    write_text(path.with_suffix(".txt"), published_text(published) + "\n")
    write_text(path.with_suffix(".md"), published_markdown(published))
    write_text(path.with_suffix(".tex"), published_latex(published))


def published_rows(published: PublishedTable) -> list[dict[str, object]]:
    """The table as plain values, one row per method, at full precision; undefined values are None."""
    rows = interval_rows(published.table)
    for row, method in zip(rows, published.table.rows, strict=True):
        theirs = {m.key: published.paper_cell(method.method, m) for m in published.table.metrics}
        row["paper_cases"] = published.paper.rows[0].cases if any(theirs.values()) else None
        for key, cell in theirs.items():
            row[f"{key}_paper_mean"], row[f"{key}_paper_std"] = (cell.mean, cell.std) if cell else (None, None)
    return rows


def interval_rows(table: Table) -> list[dict[str, object]]:
    """`table_rows` with the ends of the intervals."""
    rows = table_rows(table)
    for values, row in zip(rows, table.rows, strict=True):
        for metric, cell in zip(table.metrics, row.cells, strict=True):
            values[f"{metric.key}_low"] = none_if_nan(cell.low)
            values[f"{metric.key}_high"] = none_if_nan(cell.high)
    return rows


def published_text(published: PublishedTable) -> str:
    """The table as aligned plain text; `*` marks the best of each column."""
    heads = [["", "", "method"], ["", "", "cases"], *map(stacked_head, published.table.heads)]
    lines = [list(line) for line in zip(*heads, strict=True)]
    for line in published.lines:
        label = line.label if line.own else f"  {line.label}"
        starred = [f"{text}{'*' if best else ''}" for text, best in zip(line.texts, line.best, strict=True)]
        lines.append([label, line.cases, *starred])
    return "\n".join([published.title, *(line for line in aligned(lines) if line), f"* {published.explanation}"])


def published_markdown(published: PublishedTable) -> str:
    """The table in Markdown; the best of each column is bold."""
    heads = published.table.heads
    lines = [["Method", "Cases", *heads], ["---", *["---:"] * (len(heads) + 1)]]
    for line in published.lines:
        bold = [f"**{text}**" if best else text for text, best in zip(line.texts, line.best, strict=True)]
        lines.append([line.label if line.own else f"*{line.label}*", line.cases, *bold])
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([published.title, "", *table, "", f"Bold: {published.explanation}", ""])


LATEX = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "\N{NO-BREAK SPACE}": "~",
        "±": r"$\pm$",
        "↑": r"$\uparrow$",
        "↓": r"$\downarrow$",
    }
)
"""Characters that LaTeX reads as commands, or that not every engine knows."""


def latex_text(text: str) -> str:
    """Text with the characters replaced that LaTeX would not print as they are."""
    return text.translate(LATEX)


def published_latex(published: PublishedTable) -> str:
    """The table in LaTeX with booktabs, to be pasted or included; the best of each column is bold."""
    heads = ["Method", "Cases", *map(_latex_head, published.table.heads)]
    body: list[str] = []
    for line in published.lines:
        if line.own and body:
            body.append(r"\addlinespace")
        texts = [latex_text(text).replace(" undefined)", ")") for text in line.texts]
        bold = [rf"\textbf{{{text}}}" if best else text for text, best in zip(texts, line.best, strict=True)]
        label = latex_text(line.label)
        body.append(_latex_line([label if line.own else rf"\quad {label}", line.cases, *bold]))
    caption = f"{published.table.title}. Bold: {published.explanation}".replace(f"`{PAPER}`", f"``{PAPER}''")
    if any(cell.note for row in published.table.rows for cell in row.cells):
        caption += " In parentheses: number of undefined cases."
    return "\n".join(
        [
            r"% Needs \usepackage{booktabs} in the preamble.",
            r"\begin{table*}",
            r"  \centering",
            r"  \small",
            r"  \setlength{\tabcolsep}{4pt}",
            rf"  \caption{{{latex_text(caption)}}}",
            rf"  \label{{tab:mapping-{published.number}}}",
            rf"  \begin{{tabular}}{{lr{'r' * len(published.table.metrics)}}}",
            *(f"    {line}" for line in (r"\toprule", _latex_line(heads), r"\midrule", *body, r"\bottomrule")),
            r"  \end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


def _latex_head(head: str) -> str:
    """A column head in short lines, one above the other."""
    lines = [latex_text(line) for line in stacked_head(head) if line]
    stacked = r" \\ ".join(lines)
    return lines[0] if len(lines) == 1 else rf"\shortstack[r]{{{stacked}}}"


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
