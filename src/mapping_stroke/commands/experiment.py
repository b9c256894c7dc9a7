"""The commands of an experiment: `mapping experiment`, its stages `prepare` to `report`, `compare` and `rank`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

from mapping_stroke.errors import ConfigError, RunFolderError
from mapping_stroke.names import ProfileName, RuleName
from mapping_stroke.stages.settings import (
    ExperimentConfig,
    FoldsConfig,
    PredictConfig,
    PrepareConfig,
    TrainConfig,
)
from mapping_stroke.workflow.execution import Execution

if TYPE_CHECKING:
    from mapping_stroke.stages.status import MemberStatus


@dataclass(frozen=True)
class Experiment:
    """Run the whole experiment: every stage from `prepare` to `report`, each training as a job of its own.

    Snakemake runs the jobs on this machine or a Slurm cluster. Interrupt it at any time; rerun the command to resume.
    See the state of the jobs from anywhere with `mapping status`.
    """

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """Folder of the data set: ATLAS R2.0, ATLAS v3 or any BIDS folder, or a plain folder of scans; or results of
    `mapping segment` or `mapping bids`, whose accepted and corrected scans become the cases."""
    output: Annotated[Path, arg(aliases=["-o"], metavar="RUN")]
    """Run folder to write; the same data and settings resume it."""
    config: ExperimentConfig = field(default_factory=ExperimentConfig)
    execution: Execution = field(default_factory=Execution)
    dry_run: bool = False
    """Only show the jobs and their states; nothing is written or removed, also with `--overwrite`."""
    overwrite: bool = False
    """Remove another experiment from the run folder."""

    def run(self) -> int:
        """Run the jobs and return the exit status."""
        from mapping_stroke.cohort.reviewed import WITH_REVIEWED
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.experiment import experiment_run, plan_experiment

        given = (self.data, RunFolder(self.output), self.config, self.execution, WITH_REVIEWED)
        if self.dry_run:
            plan_experiment(*given, overwrite=self.overwrite).show(overwrite=self.overwrite)
            return 0
        return experiment_run(*given, overwrite=self.overwrite).status


@dataclass(frozen=True)
class Prepare:
    """Find the scans and masks of a data set, check every case, and start a run folder with the table of cases."""

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    """Folder of the data set: ATLAS R2.0, ATLAS v3 or any BIDS folder, or a plain folder of scans; or results of
    `mapping segment` or `mapping bids`, whose accepted and corrected scans become the cases."""
    output: Annotated[Path, arg(aliases=["-o"], metavar="RUN")]
    """Run folder to write; the same data resumes it."""
    config: PrepareConfig = field(default_factory=PrepareConfig)
    overwrite: bool = False
    """Remove another run from the run folder."""

    def run(self) -> int:
        """Check, write, and return the exit status."""
        from mapping_stroke.cohort.reviewed import WITH_REVIEWED
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.prepare import prepare_run

        run = RunFolder(self.output)
        return prepare_run(self.data, run, self.config, WITH_REVIEWED, overwrite=self.overwrite).status


@dataclass(frozen=True)
class Folds:
    """Split the labelled cases into folds with nearly equal distributions of lesion load."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder, as written by `mapping prepare`."""
    config: FoldsConfig = field(default_factory=FoldsConfig)

    def run(self) -> int:
        """Write the folds and return the exit status."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.folds import folds_run

        return folds_run(RunFolder(self.run_folder), self.config).status


@dataclass(frozen=True)
class Train:
    """Train the members: every scheme on every fold.

    Ctrl-C, SIGTERM and SIGUSR1 save the work and end with status 75; rerun the command to resume.
    """

    run_folder: Positional[Path]
    """Run folder with cases and folds, as written by `mapping prepare` and `mapping folds`."""
    config: TrainConfig = field(default_factory=TrainConfig)
    arrays_only: bool = False
    """Only prepare the arrays that all members read: the first job if several jobs train the members."""
    overwrite: bool = False
    """Retrain members that were trained with other settings or data."""

    def run(self) -> int:
        """Train missing members."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.train import prepare_arrays, train_run
        from mapping_stroke.stages.warm_start import fine_tuning_config

        run, config = RunFolder(self.run_folder), self.config
        if config.devices * config.nodes > 1:
            _require_own_command_line()
        if config.from_:
            config = fine_tuning_config(config)
        if self.arrays_only:
            return prepare_arrays(run, config).status
        return train_run(run, config, overwrite=self.overwrite).status


def _require_own_command_line() -> None:
    """Refuse several devices if this is no process of `mapping train`, whose command line the others repeat."""
    if not any(argument.startswith(("--devices", "--nodes")) for argument in sys.argv):
        raise ConfigError("several devices need a command line of their own: call `mapping train ... --devices N`")


@dataclass(frozen=True)
class Predict:
    """Predict the cases of a run: labelled ones by members that never saw them, unlabelled ones by all members."""

    run_folder: Positional[Path]
    """Run folder with trained members."""
    config: PredictConfig = field(default_factory=PredictConfig)

    def run(self) -> int:
        """Predict missing cases."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.predict import predict_run

        return predict_run(RunFolder(self.run_folder), self.config).status


@dataclass(frozen=True)
class Postprocess:
    """Turn probability maps into lesion masks."""

    source: Positional[Path]
    """Run folder in which `mapping predict` has finished; or, with -o, any folder of `<case>_probability.nii.gz`."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for the masks `<case>_mask.nii.gz`; a run folder stores them itself."""
    rule: RuleName = "challenge"
    """`challenge`: as in the authors' container. `paper`: as described in the paper. `mapping`: `challenge` for any
    voxel size. `none`: P > 0.5. In a run, the rule gives the method `ensemble-pp`; all other methods use P > 0.5."""
    overwrite: bool = False
    """Replace results of other inputs or settings in the output folder."""

    def run(self) -> int:
        """Make missing masks."""
        from mapping_stroke.console import name_files
        from mapping_stroke.run_folder import RunFolder, claimed, is_run_folder
        from mapping_stroke.stages.postprocess import CONTENTS, find_maps, postprocess_folder, postprocess_run

        if self.output is None:
            if not is_run_folder(self.source):
                raise RunFolderError(f"{self.source}: is not a run folder; name a folder for its masks with -o")
            return postprocess_run(RunFolder(self.source), self.rule).status
        find_maps(self.source)
        identity = {"kind": "postprocess", "source": str(self.source.resolve()), "rule": self.rule}
        with claimed(self.output, identity, CONTENTS, overwrite=self.overwrite):
            result = postprocess_folder(self.source, self.output, self.rule)
        name_files("Masks", self.output)
        return result.status


@dataclass(frozen=True)
class Evaluate:
    """Score masks against their references: one row per case, mean and standard deviation per method."""

    source: Positional[Path]
    """Run folder in which `mapping postprocess` has finished; or, with --references, any folder of
    `<case>_mask.nii.gz`."""
    references: Path | None = None
    """Folder with one reference mask `<case>_mask` or `<case>` (.nii.gz, .mha, ...) for each mask. For a run folder,
    without -o: the references of its unlabelled scans, which are scored for Table 2 of the report."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for `scores.csv` and `summary.csv`; required for a folder of masks. A run folder stores them itself."""
    profile: ProfileName = "atlas2022"
    """`atlas2022`: Dice, volume difference, simple lesion count, lesion-wise F1, 95HD. `isles2026`: lesion-wise F1 at
    IoU 0.25, volume and count difference, Dice, PR-AUC."""
    overwrite: bool = False
    """Replace results of other inputs or settings in the output folder."""

    def run(self) -> int:
        """Score, print the summary and name the files."""
        from mapping_stroke.run_folder import RunFolder, claimed, is_run_folder
        from mapping_stroke.stages.evaluate import (
            CONTENTS,
            evaluate_folder,
            evaluate_run,
            evaluate_test_scans,
            pair_folders,
        )

        if self.references is not None and self.output is None and RunFolder(self.source).cases_csv.is_file():
            return evaluate_test_scans(RunFolder(self.source), self.references, self.profile).status
        if (self.references is None) != (self.output is None):
            raise RunFolderError("--references and -o go together: give both for a folder of masks, none for a run")
        if self.references is None or self.output is None:
            if not is_run_folder(self.source):
                raise RunFolderError(f"{self.source}: is not a run folder; name the reference masks with --references")
            return evaluate_run(RunFolder(self.source), self.profile).status
        pair_folders(self.source, self.references, self.profile)
        sources = {"masks": str(self.source.resolve()), "references": str(self.references.resolve())}
        identity = {"kind": "evaluate", **sources, "profile": self.profile}
        with claimed(self.output, identity, CONTENTS, overwrite=self.overwrite):
            return evaluate_folder(self.source, self.references, self.output, self.profile).status


@dataclass(frozen=True)
class Report:
    """Write the report of a run: the paper's tables and figures, tests, learning curves, settings and versions."""

    run_folder: Positional[Path]
    """Run folder in which `mapping evaluate` has finished."""
    against: Annotated[Path | None, arg(metavar="OTHER_RUN")] = None
    """Another evaluated run on the same cases, such as one with other folds: the report shows the paired differences
    to it."""

    def run(self) -> int:
        """Draw, write and name the page."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.report import report_run

        against = None if self.against is None else RunFolder(self.against)
        return report_run(RunFolder(self.run_folder), against).status


@dataclass(frozen=True)
class Compare:
    """Compare two runs case by case: differences with intervals and tests, and the cases that changed most."""

    run_a: Annotated[Positional[Path], arg(metavar="RUN_A")]
    """Run folder in which `mapping evaluate` has finished."""
    run_b: Annotated[Positional[Path], arg(metavar="RUN_B")]
    """Another one on the same data; differences are B minus A."""
    output: Annotated[Path, arg(aliases=["-o"], metavar="FOLDER")]
    """Folder for the tables, the pictures and the page."""
    overwrite: bool = False
    """Replace the comparison of other runs in the output folder."""

    def run(self) -> int:
        """Compare, write and name the page."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.compare import compare_runs

        runs = RunFolder(self.run_a), RunFolder(self.run_b)
        return compare_runs(*runs, self.output, overwrite=self.overwrite).status


HEADER = ("Scheme", "Fold", "State", "Epoch", "Best Dice", "Last sign of life", "Time left")


@dataclass(frozen=True)
class Status:
    """Show the jobs of an experiment and the training progress of every member.

    Only reads files, so it works while the jobs run elsewhere.
    """

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    """Run folder, as written by `mapping experiment` or `mapping folds`."""

    def run(self) -> int:
        """Print the table."""
        from collections import Counter

        from mapping_stroke.console import aligned, counted, say
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.status import run_status
        from mapping_stroke.workflow.jobs import read_jobs

        run = RunFolder(self.run_folder)
        jobs = read_jobs(run.experiment)
        if jobs is not None:
            jobs.show()
            if not run.folds_csv.is_file():
                return 0
        members = run_status(run)
        for line in aligned([HEADER, *map(_row, members)]):
            say(line)
        for one in members:
            if one.why:
                say(f"{one.scheme}, fold {one.fold}, failed: {one.why}")
        counts = Counter(one.state for one in members)
        say(f"{counted(len(members), 'member')}: " + ", ".join(f"{number} {state}" for state, number in counts.items()))
        return 0


def _row(one: "MemberStatus") -> tuple[str, ...]:
    from mapping_stroke.console import duration

    return (
        one.scheme,
        str(one.fold),
        one.state,
        f"{one.epochs_done}/{'?' if one.epochs is None else one.epochs}",
        "" if one.best_dice is None else f"{one.best_dice:.3f}",
        "" if one.silent_s is None else f"{duration(one.silent_s)} ago",
        "" if one.seconds_left is None else duration(one.seconds_left),
    )


@dataclass(frozen=True)
class Rank:
    """Rank teams by the ATLAS-MICCAI score, from their results on the public and the hidden leaderboard.

    Teams are ranked per metric, ranks are averaged over the metrics, and the score is (public + 4 x hidden) / 5; the
    lowest wins. The challenge's metrics are dice, volume_difference_vox, simple_lesion_count and lesion_f1: result
    folders are ranked by these. A file is ranked by the metrics that it has, hd95_mm too; the same for every team.
    """

    files: Positional[tuple[str, ...]]
    """Results, in any of three forms, which may be mixed. FILE.json: {leaderboard: {team: {metric: value}}}. FILE.csv:
    one row per leaderboard and team, columns leaderboard,team and one for each metric. LEADERBOARD/TEAM=FOLDER
    (or its summary.csv): what `mapping evaluate` wrote for the masks of that team on that leaderboard, such as
    public/ours=scores/a."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Also write the table as CSV."""

    def run(self) -> int:
        """Rank, print the table, and write it."""
        from rich.markup import escape
        from rich.table import Table

        from mapping_stroke.console import name_files, out
        from mapping_stroke.evaluation.ranking import rank
        from mapping_stroke.files import write_text
        from mapping_stroke.stages.evaluate import read_team_scores

        ranking = rank(read_team_scores(self.files))
        table = Table("Team", *map(str.capitalize, ranking.columns), title="ATLAS-MICCAI score (lowest wins)")
        for team, ranks in ranking.iterrows():
            table.add_row(escape(str(team)), *(f"{value:.3f}" for value in ranks))
        out.print(table)
        if self.output is not None:
            write_text(self.output, ranking.to_csv(lineterminator="\n"))
            name_files("Ranking", self.output)
        return 0
