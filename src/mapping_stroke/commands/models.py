"""`mapping models`: train, fit, evaluate, audit, pack and describe models."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from mapping_stroke.commands.models_hold_out import HoldOut
from mapping_stroke.commands.models_train import Train
from mapping_stroke.models.labels import ModelLabels


@dataclass(frozen=True)
class Audit:
    """Look at what a model learned from simulated strokes, without training anything.

    Draws cases with their healthy twins and tells how visible the lesions are, how Dice depends on that, how cases of
    the training differ from held-out ones, what is missed and falsely marked by load, and how sure the model is.
    """

    model: Positional[str]
    """As for `show`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder for the tables."""
    brains: Path | None = None
    """Those that the model was trained with, as for `train`."""
    lesions: Path | None = None
    """Likewise."""
    rescans: tuple[str, ...] = ()
    """Likewise."""
    cases: int = 60
    """Cases of people and masks that no training saw."""
    known: int = 30
    """Cases of the people and masks of the training."""
    seed: int = 0
    """Decides the cases."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """As for `mapping segment`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Replace what another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Write the tables."""
        from mapping_stroke.models.audit import AuditConfig, audit_model
        from mapping_stroke.simulation.cohort import find_sources

        sources = find_sources(self.lesions, self.brains, self.rescans)
        config = AuditConfig(self.cases, self.known, self.seed, self.preset, self.device)
        audit_model(self.model, sources, self.output, config, overwrite=self.overwrite)
        return 0


@dataclass(frozen=True)
class Card:
    """Write a model's card, for people: what it is and is for, its terms, how well it does and where it fails."""

    model: Positional[str]
    """As for `show`."""
    evaluation: Path
    """Folder of `mapping models evaluate` of the same model."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Page to write, Markdown; the picture of the failures is written beside it."""
    about: Path | None = None
    """Your own text, Markdown with places such as `{{ loads }}` that the values fill; without it a plain one."""
    embed: bool = False
    """Keep the card in the model, too; `mapping models show MODEL --card` prints it."""

    def run(self) -> int:
        """Write the page."""
        from mapping_stroke.models.describe import write_card

        write_card(self.model, self.evaluation, self.output, self.about, embed=self.embed)
        return 0


@dataclass(frozen=True)
class List:
    """Name the models that came with this installation and those in folders, one line each."""

    folders: Positional[tuple[Path, ...]] = (Path(),)
    """Where to look: models, or folders that hold some; the current folder if none is named."""

    def run(self) -> int:
        """Print one line per model."""
        from mapping_stroke.console import say
        from mapping_stroke.models.labels import summarise_model
        from mapping_stroke.models.pack import find_models

        lines = [summarise_model(bundle) for bundle in find_models(self.folders)]
        for line in lines:
            say(line)
        if not lines:
            say(
                f"No model in {', '.join(str(folder) for folder in self.folders)}, and none came with this installation"
            )
        return 0


@dataclass(frozen=True)
class Show:
    """Tell what a model is: its members, thresholds, origin, licence and hash."""

    model: Positional[str]
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    card: bool = False
    """Print the model card that the model holds, Markdown, and nothing else."""

    def run(self) -> int:
        """Print what the model says of itself."""
        from mapping_stroke.console import say
        from mapping_stroke.models.labels import describe_model, read_page
        from mapping_stroke.networks.bundle import open_bundle

        bundle = open_bundle(self.model)
        for line in [read_page(bundle)] if self.card else describe_model(bundle):
            say(line)
        return 0


@dataclass(frozen=True)
class Verify:
    """Check a model's hashes, and the name, type, shape and values of every parameter."""

    model: Positional[str]
    """As for `show`."""

    def run(self) -> int:
        """Print each problem, and the model's hash where there is none."""
        from mapping_stroke.console import counted, say
        from mapping_stroke.models.pack import verify_model

        bundle = verify_model(self.model)
        say(f"{bundle.path}: sound, {counted(len(bundle.card.members), 'member')}, SHA-256 {bundle.sha256}")
        return 0


@dataclass(frozen=True)
class Import:
    """Read result folders or exported zips of nnU-Net, v1 or v2, into one model; nothing in their files is executed."""

    sources: Positional[tuple[Path, ...]]
    """Folders `TRAINER__PLANS__CONFIGURATION` (v2) or `TRAINER__PLANS` (v1), each with its folds; folders of data sets
    that hold one; or zips of `nnUNetv2_export_model_to_zip`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Model to write: one zip if the name ends with `.mapping`, otherwise a folder."""
    labels: ModelLabels = field(default_factory=ModelLabels)
    scheme: tuple[str, ...] = ()
    """What to call the members of each folder, one name for each; without it, names are guessed."""
    orientation: str = "RAS"
    """Where the axes of the training scans pointed, which nnU-Net does not record; RAS for scans in MNI space."""
    checkpoint: Literal["final", "best", "latest"] = "final"
    """Which checkpoint of each fold."""
    overwrite: bool = False
    """Replace a model that stands there."""

    def run(self) -> int:
        """Write the model."""
        from mapping_stroke.models.pack import ImportConfig, import_models

        config = ImportConfig(self.scheme, self.orientation, self.checkpoint)
        bundle = import_models(self.sources, self.output, self.labels, config, overwrite=self.overwrite)
        return _tell(bundle.path)


@dataclass(frozen=True)
class Export:
    """Write a model for another program."""

    model: Positional[str]
    """As for `show`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder to write into; nnU-Net takes it as its `nnUNet_results`."""
    to: Literal["nnunetv2"] = "nnunetv2"
    """For which program: `nnunetv2` makes folders that `nnUNetv2_predict` runs."""

    def run(self) -> int:
        """Write the folders and name them."""
        from mapping_stroke.console import name_files
        from mapping_stroke.models.pack import export_model

        name_files("Folder of nnU-Net", *export_model(self.model, self.output))
        return 0


@dataclass(frozen=True)
class Pack:
    """Make a model that can be shared from the members of a run, or a smaller one from another model."""

    model: Positional[str]
    """A run folder in which `mapping train` has finished, or a model, as for `show`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Model to write: one zip if the name ends with `.mapping`, otherwise a folder."""
    labels: ModelLabels = field(default_factory=ModelLabels)
    schemes: tuple[str, ...] = ()
    """Take the members of these schemes only."""
    folds: tuple[int, ...] = ()
    """Take the members of these folds only."""
    half: bool = False
    """Store weights in float16: half the bytes, and masks that differ hardly at all (benchmark `agreement`)."""
    spread: bool = False
    """Lay the members' grids differently, by parts of a voxel: for networks with voxels larger than the scans' have."""
    beside: str = ""
    """Put them beside all members of this model, as for `show`: members that see other voxels make other mistakes."""
    first: str = ""
    """Put this member before the others, such as `residual, fold 0`: it is the one of the preset `fast`."""
    overwrite: bool = False
    """Replace a model that stands there."""

    def run(self) -> int:
        """Write the model."""
        from mapping_stroke.models.pack import Selection, pack_model

        selection = Selection(self.schemes, self.folds, self.half, self.spread, self.beside, self.first)
        bundle = pack_model(self.model, self.output, self.labels, selection, overwrite=self.overwrite)
        return _tell(bundle.path)


@dataclass(frozen=True)
class Evaluate:
    """Judge a model on labelled cases that it was not trained on, and on healthy scans: each member, each rule."""

    model: Positional[str]
    """As for `show`."""
    cohort: Path
    """Labelled cases in any layout that `mapping prepare` reads; the model must not have been trained on them."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder for tables, page and pictures. The same call again goes on where it stopped."""
    healthy: tuple[Path, ...] = ()
    """Healthy scans, or folders of them: all that is marked there is false."""
    heads: tuple[Path, ...] = ()
    """Healthy scans of whole heads, or folders of them: told apart from --healthy, and never in a picture."""
    hard: tuple[Path, ...] = ()
    """Scans of patients without a mask, or folders of them, such as tumours: how much is marked is told by name."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """As for `mapping segment`."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Start anew where another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Judge every scan; one that fails does not stop the others."""
        from mapping_stroke.models.evaluate import EvaluateConfig, evaluate_model
        from mapping_stroke.models.judge import EvaluationData

        config = EvaluateConfig(self.preset, self.device)
        data = EvaluationData(self.cohort, self.healthy, self.heads, self.hard)
        failed = evaluate_model(self.model, data, self.output, config, overwrite=self.overwrite)
        return 3 if failed else 0


@dataclass(frozen=True)
class Fit:
    """Fit the rule `mapping` of a model on labelled cases that it was not trained on, and write the model with it."""

    model: Positional[str]
    """As for `show`."""
    cohort: Path
    """Labelled cases in any layout that `mapping prepare` reads. The model must not have been trained on them: on cases
    that it knows it is too sure, and the levels come out wrong."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Model to write: one zip if the name ends with `.mapping`, otherwise a folder. The table of all rules is written
    beside it."""
    healthy: tuple[Path, ...] = ()
    """Healthy scans, or folders of them: the mean volume that a rule marks there is ranked like a metric."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """As for `mapping segment`; the levels are fitted for it."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    keep_maps: bool = False
    """Keep the predicted maps beside the model, for another fit; a few MB for each scan."""
    overwrite: bool = False
    """Replace a model that stands there."""

    def run(self) -> int:
        """Fit, show the table and write the model."""
        from mapping_stroke.models.evaluate import EvaluateConfig
        from mapping_stroke.models.fit import fit_model
        from mapping_stroke.models.judge import EvaluationData

        config = EvaluateConfig(self.preset, self.device)
        data, flags = (
            EvaluationData(self.cohort, self.healthy),
            {"keep_maps": self.keep_maps, "overwrite": self.overwrite},
        )
        failed = fit_model(self.model, data, self.output, config, **flags)
        return 3 if failed else 0


Action = (
    Annotated[List, subcommand("list")]
    | Annotated[Show, subcommand("show")]
    | Annotated[Verify, subcommand("verify")]
    | Annotated[Import, subcommand("import")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Pack, subcommand("pack")]
    | Annotated[Evaluate, subcommand("evaluate")]
    | Annotated[Fit, subcommand("fit")]
    | Annotated[Audit, subcommand("audit")]
    | Annotated[HoldOut, subcommand("hold-out")]
    | Annotated[Card, subcommand("card")]
    | Annotated[Train, subcommand("train")]
)


@dataclass(frozen=True)
class Models:
    """List, show, check, pack, import, export, train, evaluate, audit, fit and describe models, and hold cases out."""

    action: Action

    def run(self) -> int:
        """Do what was asked."""
        return self.action.run()


def _tell(path: Path) -> int:
    """Show the model that was written, and name it last."""
    from mapping_stroke.console import name_files, say
    from mapping_stroke.models.labels import summarise_model
    from mapping_stroke.networks.bundle import open_bundle

    say(summarise_model(open_bundle(path)))
    name_files("Model", path)
    return 0
