"""The commands of an experiment: `mapping prepare` to `mapping report`, and `mapping rank`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg


@dataclass(frozen=True)
class Prepare:
    """Find the scans and masks of a data set, check every case, and start a run folder with the table of cases."""

    data: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DATA")]
    """Folder of the data set: ATLAS R2.0, ATLAS v3 or any BIDS folder, or a plain folder of scans."""
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="RUN")]
    """Run folder to write; the same data resumes it."""
    layout: Literal["auto", "atlas", "bids", "plain"] = "auto"
    """How the folder is laid out; `auto` finds out and says which."""
    scans: Annotated[str | None, tyro.conf.arg(metavar="PATTERN")] = None
    """Plain folder: name pattern of the scans, such as '*_T1w.nii.gz' or '*/T1.nii.gz'; `*` stands for the case id."""
    masks: Annotated[str | None, tyro.conf.arg(metavar="PATTERN")] = None
    """Plain folder: name pattern of the masks, such as '{id}_lesion.nii.gz', beside the scan or from DATA on."""
    exclude_bad: bool = False
    """Leave cases with problems out (exit status 3) instead of stopping."""
    overwrite: bool = False
    """Remove another run that the run folder holds."""

    def run(self) -> int:
        """Check, write, and return the exit status."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.prepare import Naming, prepare_run

        naming = Naming(self.layout, self.scans, self.masks)
        return prepare_run(
            self.data, RunFolder(self.output), naming, exclude_bad=self.exclude_bad, overwrite=self.overwrite
        )


@dataclass(frozen=True)
class Folds:
    """Split the labelled cases into folds with near-equal distributions of lesion load."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder, as written by `mapping prepare`."""
    number: int = 5
    """Folds to make."""
    seed: int = 0
    """The same seed gives the same folds."""
    group_by: Literal["subject", "site"] = "subject"
    """What stays whole in one fold: all scans of a person, or all of a site."""
    folds: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Take this assignment instead: CSV with case_id,fold, or the authors' Name,Fold."""

    def run(self) -> int:
        """Write the folds and return the exit status."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.folds import folds_run

        return folds_run(RunFolder(self.run_folder), self.number, self.seed, self.group_by, self.folds)


@dataclass(frozen=True)
class Train:
    """Train the members: every scheme on every fold.

    Ctrl-C, SIGTERM and SIGUSR1 save and end with status 75; the same command goes on.
    """

    run_folder: Positional[Path]
    """Run folder with cases and folds, as written by `mapping prepare` and `mapping folds`."""
    from_: Annotated[str, arg(name="from")] = ""
    """Fine-tune this model (as for `mapping segment`) on the cases instead of training from nothing: each member begins
    with the model's of its scheme, and is trained shortly, at a thirtieth of the learning rate."""
    schemes: tuple[str, ...] = ()
    """Training schemes; the paper's four where left out, with `--from` those of the model. Beside the paper's there are
    `carvemix` and `mixup`. Those that need pseudo-labels are trained last."""
    folds: tuple[int, ...] = ()
    """Numbers of the folds to train; all folds where left out."""
    size: Literal["full", "compact", "fine", "small", "tiny"] | None = None
    """`full` (where left out) is the paper's (a GPU, days); `compact`, `fine`, `small` and `tiny` run on a CPU (hours
    to minutes). With `--from` the model's own."""
    epochs: int | None = None
    """Of every member; the size's own where left out, 10 with `--from`."""
    learning_rate: float | None = None
    """Of the first epoch; the size's own where left out, a thirtieth of it with `--from`."""
    variant: Literal["paper", "container"] = "paper"
    """Schemes as the paper describes them, or as the authors' container has them (800 epochs of dice-topk10,
    strong augmentation for self-training)."""
    seed: int = 0
    """Decides initial weights, patches and augmentation."""
    confidence_floor: float | None = None
    """Pseudo-labels with a lower mean P inside (0.5 to 1), and empty ones, are left out; all are taken without it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the convolutions; `auto` takes bfloat16 where the device has instructions for it."""
    compile: bool = False
    """Compile each network first: a minute or two at every start, then faster steps. Needs a C++ compiler on a CPU."""
    devices: int = 1
    """GPUs that train each member together, each its share of every batch; with `--device cpu`, processes."""
    nodes: int = 1
    """Machines that do so, each with `--devices`: start the command on all of them, with `torchrun` or `srun`."""
    batch: int | None = None
    """Patches of a step, on all devices together; the size's own (2) where left out, for which schemes are made."""
    jobs: int = 1
    """Folds trained at once, each in a process with its share of the CPU cores."""
    save_minutes: float = 10.0
    """Longest time between two checkpoints; one is written at every epoch's end anyway."""
    arrays_only: bool = False
    """Only prepare the arrays that all members read: the first job where members are trained by several at once."""
    overwrite: bool = False
    """Train anew where a member of other settings or data stands."""

    def run(self) -> int:
        """Train what is missing."""
        from mapping_stroke.models.lessons import fine_tuning_config
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.train import TrainConfig, prepare_arrays, train_side_by_side

        run = RunFolder(self.run_folder)
        usual = fine_tuning_config(self.from_, self.size) if self.from_ else TrainConfig(size=self.size or "full")
        config = replace(usual, **self._asked())
        if self.arrays_only:
            prepare_arrays(run, config)
            return 0
        trained = train_side_by_side(run, config, self.jobs, overwrite=self.overwrite)
        return 3 if trained.failed else 0

    def _asked(self) -> dict[str, Any]:
        """What the configuration takes as it was given; what was left out keeps its usual value."""
        same = (
            *("folds", "variant", "seed", "device", "precision", "confidence_floor"),
            *("save_minutes", "devices", "nodes", "batch"),
        )
        asked = {name: getattr(self, name) for name in same} | {"compiled": self.compile}
        usual = {name: getattr(self, name) for name in ("schemes", "epochs", "learning_rate")}
        return asked | {name: value for name, value in usual.items() if value not in (None, ())}


@dataclass(frozen=True)
class Predict:
    """Predict the cases of a run: labelled ones by members that never saw them, unlabelled ones by all members."""

    run_folder: Positional[Path]
    """Run folder with trained members."""
    mirror: bool = False
    """Average over all mirrorings of each patch that a member's training had (8 for the paper's), as the paper does."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """What computes the networks; `auto`: OpenVINO on x86 processors, torch elsewhere."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the convolutions; `auto`: bfloat16 where the chip computes in it."""

    def run(self) -> int:
        """Predict what is missing."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.predict import PredictConfig, predict_run

        config = PredictConfig(self.mirror, self.device, self.engine, self.precision)
        failed = predict_run(RunFolder(self.run_folder), config)
        return 3 if failed else 0


@dataclass(frozen=True)
class Postprocess:
    """Turn probability maps into lesion masks."""

    source: Positional[Path]
    """Run folder in which `mapping predict` has finished; or, with -o, any folder of `<case>_probability.nii.gz`."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for the masks `<case>_mask.nii.gz`; a run folder keeps them itself."""
    rule: Literal["challenge", "paper", "mapping", "none"] = "challenge"
    """`challenge`: as the authors' container. `paper`: as the paper's text. `mapping`: `challenge` for any voxel size.
    `none`: P > 0.5. In a run the rule makes the method `ensemble-pp`; all other methods are P > 0.5."""
    overwrite: bool = False
    """Replace what another call wrote into the output folder."""

    def run(self) -> int:
        """Make the masks that are missing."""
        from mapping_stroke.console import name_files
        from mapping_stroke.errors import RunFolderError
        from mapping_stroke.run_folder import RunFolder, claimed, is_run_folder
        from mapping_stroke.stages.postprocess import CONTENTS, find_maps, postprocess_folder, postprocess_run

        if self.output is None:
            if not is_run_folder(self.source):
                raise RunFolderError(f"{self.source}: is no run folder; name a folder for its masks with -o")
            return 3 if postprocess_run(RunFolder(self.source), self.rule) else 0
        find_maps(self.source)
        identity = {"kind": "postprocess", "source": str(self.source.resolve()), "rule": self.rule}
        with claimed(self.output, identity, CONTENTS, overwrite=self.overwrite):
            failed = postprocess_folder(self.source, self.output, self.rule)
        name_files("Masks", self.output)
        return 3 if failed else 0


@dataclass(frozen=True)
class Evaluate:
    """Score masks against their references: one row per case, mean and standard deviation per method."""

    source: Positional[Path]
    """Run folder in which `mapping postprocess` has finished; or, with --references, any folder of
    `<case>_mask.nii.gz`."""
    references: Path | None = None
    """Folder with one reference mask `<case>_mask` or `<case>` (.nii.gz, .mha, ...) for each mask."""
    output: Annotated[Path | None, arg(aliases=["-o"])] = None
    """Folder for `scores.csv` and `summary.csv`; needed with --references. A run folder keeps them itself."""
    profile: Literal["atlas2022", "isles2026"] = "atlas2022"
    """`atlas2022`: Dice, volume difference, simple lesion count, lesion-wise F1, 95HD. `isles2026`: lesion-wise F1 at
    IoU 0.25, volume and count difference, Dice, PR-AUC."""
    overwrite: bool = False
    """Replace what another call wrote into the output folder."""

    def run(self) -> int:
        """Score, print the summary and name the files."""
        from mapping_stroke.errors import RunFolderError
        from mapping_stroke.run_folder import RunFolder, claimed, is_run_folder
        from mapping_stroke.stages.evaluate import CONTENTS, evaluate_folder, evaluate_run, pair_folders

        if (self.references is None) != (self.output is None):
            raise RunFolderError("--references and -o go together: give both for a folder of masks, none for a run")
        if self.references is None or self.output is None:
            if not is_run_folder(self.source):
                raise RunFolderError(f"{self.source}: is no run folder; name the reference masks with --references")
            return 3 if evaluate_run(RunFolder(self.source), self.profile) else 0
        pair_folders(self.source, self.references, self.profile)
        sources = {"masks": str(self.source.resolve()), "references": str(self.references.resolve())}
        identity = {"kind": "evaluate", **sources, "profile": self.profile}
        with claimed(self.output, identity, CONTENTS, overwrite=self.overwrite):
            return 3 if evaluate_folder(self.source, self.references, self.output, self.profile) else 0


@dataclass(frozen=True)
class Report:
    """Write the page of a run: the paper's table and figures, learning curves, settings and versions."""

    run_folder: Positional[Path]
    """Run folder in which `mapping evaluate` has finished."""

    def run(self) -> int:
        """Draw, write and name the page."""
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.report import report_run

        report_run(RunFolder(self.run_folder))
        return 0


if TYPE_CHECKING:
    from mapping_stroke.stages.status import MemberStatus

HEADER = ("Scheme", "Fold", "State", "Epoch", "Best Dice", "Last sign of life", "Time left")


@dataclass(frozen=True)
class Status:
    """Tell how far the training of every member is. Only reads; works while the training runs elsewhere."""

    run_folder: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """Run folder with folds, as written by `mapping folds`."""

    def run(self) -> int:
        """Print the table."""
        from collections import Counter

        from mapping_stroke.console import aligned, say
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.stages.status import run_status

        members = run_status(RunFolder(self.run_folder))
        for line in aligned([HEADER, *map(_row, members)]):
            say(line)
        for one in members:
            if one.why:
                say(f"{one.scheme}, fold {one.fold}, failed: {one.why}")
        counts = Counter(one.state for one in members)
        say(f"{len(members)} members: " + ", ".join(f"{number} {state}" for state, number in counts.items()))
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
