"""`mapping rank`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Rank:
    """Rank teams by the ATLAS-MICCAI score, from their results on the public and the hidden leaderboard.

    Teams are ranked per metric, ranks are averaged over the metrics, and the score is (public + 4 x hidden) / 5; the
    lowest wins. The metrics are those of `mapping evaluate`: dice, volume_difference_vox, simple_lesion_count,
    lesion_f1, hd95_mm; all or some, the same for every team.
    """

    files: Positional[tuple[str, ...]]
    """Results, in any of three forms, which may be mixed. FILE.json: {leaderboard: {team: {metric: value}}}. FILE.csv:
    one row per leaderboard and team, columns leaderboard,team and one for each metric. LEADERBOARD/TEAM=summary.csv:
    what `mapping evaluate` wrote for the masks of that team on that leaderboard, such as public/ours=a/summary.csv."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Write the table as CSV, too."""

    def run(self) -> int:
        """Rank, print the table, and write it."""
        from rich.markup import escape
        from rich.table import Table

        from mapping_stroke.console import name_files, out
        from mapping_stroke.evaluation.ranking import rank
        from mapping_stroke.experiment.team_scores import read_team_scores
        from mapping_stroke.files import write_text

        ranking = rank(read_team_scores(self.files))
        table = Table("Team", *map(str.capitalize, ranking.columns), title="ATLAS-MICCAI score (lowest wins)")
        for team, ranks in ranking.iterrows():
            table.add_row(escape(str(team)), *(f"{value:.3f}" for value in ranks))
        out.print(table)
        if self.output is not None:
            write_text(self.output, ranking.to_csv(lineterminator="\n"))
            name_files("Ranking", self.output)
        return 0
