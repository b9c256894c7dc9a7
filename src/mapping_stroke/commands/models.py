"""`mapping models`: train, fit, evaluate, audit, pack and describe models."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from mapping_stroke.models.settings import (
    AuditConfig,
    EvaluateConfig,
    FitConfig,
    HeldOutCases,
    ImportConfig,
    ModelConfig,
    ModelLabels,
    Selection,
)
from mapping_stroke.simulation.settings import FROZEN_CASES, SourceFolders


@dataclass(frozen=True)
class List:
    """List the models that came with this installation and those in folders, one line each."""

    folders: Positional[tuple[Path, ...]] = (Path(),)
    """Models, or folders that hold models; the current folder if left out."""

    def run(self) -> int:
        """Print one line per model."""
        from mapping_stroke.console import say
        from mapping_stroke.models.describe import summarise_model
        from mapping_stroke.models.pack import find_models

        lines = [summarise_model(bundle) for bundle in find_models(self.folders)]
        for line in lines:
            say(line)
        if not lines:
            folders = ", ".join(str(folder) for folder in self.folders)
            say(f"No model in {folders}, and none came with this installation")
        return 0


@dataclass(frozen=True)
class Show:
    """Show a model's members, thresholds, origin, licence and hash."""

    model: Positional[str]
    """A `.mapping` file, a model folder, a run folder, or the name of a model of this installation."""
    card: bool = False
    """Print only the model card (Markdown) stored in the model."""

    def run(self) -> int:
        """Print the facts or the card."""
        from mapping_stroke.console import say
        from mapping_stroke.models.describe import describe_model, read_page
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
        """Print each problem, or the model's hash if there is none."""
        from mapping_stroke.console import counted, say
        from mapping_stroke.models.pack import verify_model

        bundle = verify_model(self.model)
        say(f"{bundle.path}: sound, {counted(len(bundle.card.members), 'member')}, SHA-256 {bundle.sha256}")
        return 0


@dataclass(frozen=True)
class Import:
    """Read result folders or exported zips of nnU-Net, v1 or v2, into one model; no code in their files is executed."""

    sources: Positional[tuple[Path, ...]]
    """Folders `TRAINER__PLANS__CONFIGURATION` (v2) or `TRAINER__PLANS` (v1), each with its folds; data set folders
    that hold one; or zips of `nnUNetv2_export_model_to_zip`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Model to write: one zip if the name ends with `.mapping`, otherwise a folder."""
    labels: ModelLabels = field(default_factory=ModelLabels)
    config: ImportConfig = field(default_factory=ImportConfig)
    overwrite: bool = False
    """Replace an existing model."""

    def run(self) -> int:
        """Write the model."""
        from mapping_stroke.models.pack import import_models

        return _report(
            import_models(self.sources, self.output, self.labels, self.config, overwrite=self.overwrite).path
        )


@dataclass(frozen=True)
class Export:
    """Write a model for another program."""

    model: Positional[str]
    """As for `show`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder to write into; nnU-Net takes it as its `nnUNet_results`."""
    to: Literal["nnunetv2"] = "nnunetv2"
    """Target program: `nnunetv2` makes folders that `nnUNetv2_predict` runs."""

    def run(self) -> int:
        """Write the folders and name them."""
        from mapping_stroke.console import name_files
        from mapping_stroke.models.pack import export_model

        name_files("Folder of nnU-Net", *export_model(self.model, self.output))
        return 0


@dataclass(frozen=True)
class Pack:
    """Make a model for sharing from the members of a run, or a smaller one from another model."""

    model: Positional[str]
    """A run folder in which `mapping train` has finished; or a model, as for `show`; or the `.state` file of a
    training on a schedule, to try what it has learned so far."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Model to write: one zip if the name ends with `.mapping`, otherwise a folder."""
    labels: ModelLabels = field(default_factory=ModelLabels)
    selection: Selection = field(default_factory=Selection)
    overwrite: bool = False
    """Replace an existing model."""

    def run(self) -> int:
        """Write the model."""
        from mapping_stroke.models.pack import pack_model

        return _report(pack_model(self.model, self.output, self.labels, self.selection, overwrite=self.overwrite).path)


@dataclass(frozen=True)
class Evaluate:
    """Evaluate a model on labelled cases and healthy scans that it was not trained on: each member, each rule."""

    model: Positional[str]
    """As for `show`."""
    config: EvaluateConfig
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder for tables, page and pictures. Rerun the same command to resume."""
    overwrite: bool = False
    """Start afresh if another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Evaluate every scan; one that fails does not stop the others."""
        from mapping_stroke.models.evaluate import evaluate_model

        return 3 if evaluate_model(self.model, self.config, self.output, overwrite=self.overwrite) else 0


@dataclass(frozen=True)
class Fit:
    """Fit the rule `mapping` of a model on labelled cases that it was not trained on, and write the model with it."""

    model: Positional[str]
    """As for `show`."""
    config: FitConfig
    output: Annotated[Path, arg(aliases=["-o"])]
    """Model to write: one zip if the name ends with `.mapping`, otherwise a folder. The table of all rules is written
    next to it."""
    overwrite: bool = False
    """Replace an existing model."""

    def run(self) -> int:
        """Fit, show the table and write the model."""
        from mapping_stroke.models.fit import fit_model

        return 3 if fit_model(self.model, self.config, self.output, overwrite=self.overwrite) else 0


@dataclass(frozen=True)
class Audit:
    """Examine how a model behaves on simulated strokes, without training anything.

    Draws cases with their healthy twins. Reports the visibility of the lesions, the dependence of Dice on it, how cases
    of the training differ from held-out ones, missed and false volume by lesion load, and the model's confidence.
    """

    model: Positional[str]
    """As for `show`."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Folder for the tables."""
    folders: SourceFolders = field(default_factory=SourceFolders)
    config: AuditConfig = field(default_factory=AuditConfig)
    overwrite: bool = False
    """Replace what another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Write the tables."""
        from mapping_stroke.models.audit import audit_model
        from mapping_stroke.simulation.cohort import find_sources

        audit_model(self.model, find_sources(self.folders), self.output, self.config, overwrite=self.overwrite)
        return 0


@dataclass(frozen=True)
class HoldOut:
    """Write the frozen hold-out: simulated cases for comparing models, of people and masks that are never trained on.

    The cases follow a fixed plan and are the same every time. The command reports whether they match the published
    ones: only then can scores be compared. `mapping models evaluate --cohort` takes the folder.
    """

    folder: Annotated[Positional[Path], arg(metavar="FOLDER")]
    """Folder to write: scans, masks, and `cases.tsv`. Existing cases are kept, and compared."""
    folders: SourceFolders = field(default_factory=SourceFolders)
    cases: int = FROZEN_CASES
    """Write only the first this many, for a trial."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    overwrite: bool = False
    """Replace cases that were made from other brains or masks, or by another version."""

    def run(self) -> int:
        """Write the missing cases, and compare."""
        from mapping_stroke.inference.engines import choose_device
        from mapping_stroke.simulation.cohort import find_sources
        from mapping_stroke.simulation.frozen import write_frozen

        device = choose_device(self.device)
        write_frozen(self.folder, find_sources(self.folders), device, self.cases, overwrite=self.overwrite)
        return 0


@dataclass(frozen=True)
class Card:
    """Write a model's card: purpose, terms of use, accuracy, and failures."""

    model: Positional[str]
    """As for `show`."""
    evaluation: Path
    """Folder of `mapping models evaluate` of the same model."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Page to write, Markdown; the picture of the failures is written next to it."""
    about: Path | None = None
    """Your own text, Markdown with placeholders such as `{{ loads }}` for the values; a plain one if left out."""
    embed: bool = False
    """Also store the card in the model; `mapping models show MODEL --card` prints it."""

    def run(self) -> int:
        """Write the page."""
        from mapping_stroke.models.describe import write_card

        write_card(self.model, self.evaluation, self.output, self.about, embed=self.embed)
        return 0


@dataclass(frozen=True)
class Train:
    """Train a model on simulated strokes only: lesions of real masks in healthy brains, a new one at every step.

    Trains the paper's four schemes, self-training last; fits the post-processing rule on held-out people and masks, and
    evaluates the model on yet others. Ctrl-C, SIGTERM and SIGUSR1 save and end with status 75; rerun the same command
    to resume.
    """

    run_folder: Positional[Path]
    """Folder to write: `model.mapping`, its scores in `evaluation/`, the members, and their sources."""
    folders: SourceFolders = field(default_factory=SourceFolders)
    labels: ModelLabels = field(default_factory=ModelLabels)
    held_out: HeldOutCases = field(default_factory=HeldOutCases)
    config: ModelConfig = field(default_factory=ModelConfig)

    def run(self) -> int:
        """Train the missing members, then fit and evaluate."""
        from mapping_stroke.models.make import make_model
        from mapping_stroke.processes import listening
        from mapping_stroke.run_folder import RunFolder
        from mapping_stroke.simulation.cohort import find_sources

        sources = find_sources(self.folders, self.labels.training_data)
        with listening() as stop:
            failed = make_model(RunFolder(self.run_folder), sources, self.config, self.held_out, self.labels, stop)
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
        """Run the chosen action."""
        return self.action.run()


def _report(path: Path) -> int:
    """Summarise the model that was written, and name its file last."""
    from mapping_stroke.console import name_files, say
    from mapping_stroke.models.describe import summarise_model
    from mapping_stroke.networks.bundle import open_bundle

    say(summarise_model(open_bundle(path)))
    name_files("Model", path)
    return 0
