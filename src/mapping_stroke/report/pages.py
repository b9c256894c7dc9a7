"""The report of a run as an HTML page, with embedded pictures."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from mapping_stroke.evaluation.cohorts import FEWEST_PEOPLE
from mapping_stroke.evaluation.contributions import Step
from mapping_stroke.evaluation.paired_tests import RANKS_AND_MEANS, PairedTest
from mapping_stroke.evaluation.profiles import Metric
from mapping_stroke.evaluation.tables import CaseScore
from mapping_stroke.names import PAPER
from mapping_stroke.report.distributions import METRICS, SizeGroup
from mapping_stroke.report.html import render
from mapping_stroke.report.publication import PublishedTable
from mapping_stroke.report.strata import Strata
from mapping_stroke.report.style import method_label
from mapping_stroke.report.tables import Table, explain, read_paper_tables


@dataclass(frozen=True)
class Picture:
    """A PNG file with title and caption."""

    png: Path
    title: str
    caption: str

    @property
    def data_uri(self) -> str:
        """The file contents, to embed in the page."""
        return "data:image/png;base64," + base64.b64encode(self.png.read_bytes()).decode("ascii")


@dataclass(frozen=True)
class Provenance:
    """Origin of the pseudo-labels of one member.

    Attributes:
        member: Scheme of the member trained with them.
        fold: Fold of that member.
        scheme: Scheme of the member of the same fold that made the labels.
        weights_sha256: Hash of its weights.
        labels: Number of labelled scans.
        empty: Number of labels without lesion.
        left_out: Number of labels excluded from training because they do not reach the floor.
        floor: Lowest mean confidence; empty for none.
        confidence: Mean P inside the labels, and its range.
    """

    member: str
    fold: str
    scheme: str
    weights_sha256: str
    labels: int
    empty: int
    left_out: int
    floor: str
    confidence: str


@dataclass(frozen=True)
class Results:
    """The numbers of a run.

    Attributes:
        published: The paper's Table 1 for this run, beside the paper's own.
        fold_tables: The same table for every fold.
        sizes: Metrics and their means by load.
        final: Last method of the table: the pipeline's result.
        cases: Scores of the final method, worst first.
        loads_ml: Case to load in millilitres.
    """

    published: PublishedTable
    fold_tables: Sequence[Table]
    sizes: Sequence[tuple[Metric, Sequence[SizeGroup]]]
    final: str
    cases: Sequence[CaseScore]
    loads_ml: Mapping[str, float]

    @property
    def table(self) -> Table:
        """The paper's Table 1 for this run."""
        return self.published.table


@dataclass(frozen=True)
class Statistics:
    """Comparisons of the methods of a run.

    Attributes:
        tests: Metrics, and the paired tests of all pairs of methods in each.
        strata: Dice by each known property of the cases.
        table_2: The paper's Table 2 for this run; None if no test scan was scored.
        steps: Schemes added to the ensemble; empty if they cannot be compared.
        contributions: Their picture, or why it is missing.
    """

    tests: Sequence[tuple[Metric, Sequence[PairedTest]]]
    strata: Sequence[Strata]
    table_2: PublishedTable | None
    steps: Sequence[Step]
    contributions: Picture | str

    @property
    def pairs(self) -> int:
        """Number of pairs of methods."""
        return len(self.tests[0][1]) if self.tests else 0


@dataclass(frozen=True)
class About:
    """Data, settings and environment of a run; missing parts are empty.

    Attributes:
        name: Name of the run.
        simulated: Whether the data set is declared as simulated; None if unknown.
        facts: Names and values.
        provenance: Origin of the pseudo-labels.
        failures: Problems, one line each.
        settings: Text of `config.toml`.
        environment: Packages and their versions.
        version: Version of this software.
    """

    name: str
    simulated: bool | None
    facts: Sequence[tuple[str, str]]
    provenance: Sequence[Provenance]
    failures: Sequence[str]
    settings: str
    environment: Mapping[str, str]
    version: str


@dataclass(frozen=True)
class Section:
    """A section of the page that another module renders: its anchor, its title, and its HTML."""

    anchor: str
    title: str
    html: Markup


def render_page(
    about: About,
    results: Results,
    pictures: Mapping[str, Picture | str],
    statistics: Statistics,
    sections: Sequence[Section] = (),
) -> str:
    """The report as HTML; text from files is escaped.

    Args:
        about: The run.
        results: Its numbers.
        pictures: All other pictures of the template by name; a text replaces a missing picture.
        statistics: Its comparisons of methods.
        sections: More sections, after the results by lesion size.
    """
    return render(
        "report.html.j2",
        about=about,
        results=results,
        pictures={**pictures, "contributions": statistics.contributions},
        statistics=statistics,
        sections=sections,
        lead=lead_sentence(results),
        paper_tables=read_paper_tables(),
        explanation=explain(results.table),
        fewest_people=FEWEST_PEOPLE,
        ranks_and_means=RANKS_AND_MEANS,
        paper=PAPER,
    )


def lead_sentence(results: Results) -> str:
    """The result in a sentence: the final method's means of Dice and of lesion-wise F1."""
    row = next(row for row in results.table.rows if row.method == results.final)
    means = [
        f"{metric.label} {cell.mean:.2f}"
        for metric, cell in zip(results.table.metrics, row.cells, strict=True)
        if metric.key in METRICS and not math.isnan(cell.mean)
    ]
    return f"{method_label(results.final)}: mean {' and '.join(means)} over {row.cases} case{'s' * (row.cases != 1)}."
