"""The commands for new scans: `mapping segment`, `mapping bids`, `mapping grand-challenge`, `mapping app`."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg, subcommand

from mapping_stroke.cohort.settings import NO_REGIONS, Computation, RegionOptions, ScanOptions
from mapping_stroke.cohort.shared_folder import CohortExecution
from mapping_stroke.workflow.execution import as_options

if TYPE_CHECKING:
    from mapping_stroke.cohort.bids_scans import Choice
    from mapping_stroke.cohort.results import OutputLayout


IN_THIS_PROCESS = CohortExecution()


@dataclass(frozen=True)
class Segment:
    """Segment new scans: lesion mask, brain mask, probability, uncertainty, lesion table and pictures for each."""

    paths: Positional[tuple[Path, ...]]
    """T1w scans (.nii, .nii.gz, .mgz, .mgh, .mha, .mhd, .nrrd), folders of them, or folders with a T1w DICOM series.
    Raw scans if the model was made for MNI152 space, otherwise prepared like its training scans."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Output folder; files are named after the scans. Rerun the same command to resume."""
    computation: Computation = field(default_factory=Computation)
    scan: ScanOptions = field(default_factory=ScanOptions)
    scans: Annotated[str | None, arg(metavar="PATTERN")] = None
    """Segment only the images of this name in the given folders and their subfolders, such as '*/T1.nii.gz'; the part
    that `*` stands for names the outputs, as for the cases of `mapping prepare`."""
    overwrite: bool = False
    """Replace results of another model or other settings in the output folder."""
    execution: CohortExecution = IN_THIS_PROCESS

    def run(self) -> int:
        """Segment every scan; a scan that fails does not stop the others."""
        if self.execution.profile != IN_THIS_PROCESS.profile:
            return self._run_shares()
        from mapping_stroke.cohort.loop import segment_scans

        failed = segment_scans(
            self.paths, self.output, self.computation, self.scan, pattern=self.scans, overwrite=self.overwrite
        )
        self._name_files()
        return 3 if failed else 0

    def _run_shares(self) -> int:
        from mapping_stroke.cohort.group import COHORT_COLUMNS
        from mapping_stroke.cohort.inputs import find_scans
        from mapping_stroke.cohort.regions import choose_atlas
        from mapping_stroke.cohort.shared_folder import run_shares

        choose_atlas(self.scan.regions, COHORT_COLUMNS)  # refused here, and not in every job
        count = len(find_scans(self.paths, self.scan.series, self.scans))
        paths = [str(path.absolute()) for path in self.paths]
        settings = replace(self, computation=_everywhere(self.computation), execution=IN_THIS_PROCESS)
        options = as_options(settings, Segment(self.paths, self.output))
        command = ["segment", *paths, "-o", str(self.output.absolute()), *options]
        result = run_shares(self.output, command, self.execution, self.computation.device, scans=count, by_shard=False)
        self._name_files()
        return result.status

    def _name_files(self) -> None:
        from mapping_stroke.cohort.results import FlatLayout
        from mapping_stroke.console import name_files

        name_files("A page per scan, masks, probabilities, lesion tables and run.json", self.output)
        _name_group_files(FlatLayout(self.output))


def _name_group_files(layout: "OutputLayout") -> None:
    """Name the files about all scans that exist."""
    from mapping_stroke.console import name_files

    names = layout.group
    files = {"Table": names.table, "Lesion overlap": names.overlap, "Page for review": names.page}
    for title, name in files.items():
        if (layout.folder / name).is_file():
            name_files(title, layout.folder / name)


def _everywhere(computation: Computation) -> Computation:
    """The same settings for a job that runs in another folder."""
    model = Path(computation.model)
    return replace(computation, model=str(model.absolute())) if model.exists() else computation


@dataclass(frozen=True)
class Bids:
    """Segment the T1w scans of a BIDS data set into a BIDS derivative, and write the group table (a BIDS App)."""

    bids_dir: Positional[Path]
    """Folder of the data set."""
    out: Positional[Path]
    """Folder of the derivative, such as `BIDS_DIR/derivatives/mapping`. Rerun the same command to resume; several may
    run at once."""
    level: Positional[Literal["participant", "group"]]
    """`participant` segments scans; `group` then writes `group_lesions.tsv`, lesion overlap maps and `group.html`."""
    participant_label: tuple[str, ...] = ()
    """Only these participants, with or without `sub-`."""
    session_label: tuple[str, ...] = ()
    """Only these sessions, with or without `ses-`."""
    shard: str = ""
    """`i/N`: only the i-th of N shares of the scans, for N processes or machines."""
    computation: Computation = field(default_factory=Computation)
    regions: RegionOptions = NO_REGIONS
    brain: Path | None = None
    """`participant`: folder of your own brain masks, named as in the derivative
    (`sub-X_space-orig_desc-brain_mask.nii.gz`), in participants' folders or all in one; brain extraction is used for
    scans without one. See `mapping segment`."""
    skip_bids_validation: bool = False
    """Accepted because BIDS Apps have it, and ignored: run the BIDS validator yourself."""
    overwrite: bool = False
    """`participant`: replace results of another model or other settings in the folder."""
    execution: CohortExecution = IN_THIS_PROCESS

    def run(self) -> int:
        """Segment or write the table; a scan that fails does not stop the others."""
        from mapping_stroke.cohort.bids import BidsLayout, report_group, segment_participants
        from mapping_stroke.cohort.bids_scans import Choice
        from mapping_stroke.console import name_files

        layout = BidsLayout(self.out, self.bids_dir)
        choice = Choice(self.participant_label, self.session_label, self.shard)
        if self.level == "group":
            rows = report_group(layout, choice, self.regions)
            _name_group_files(layout)
            return 3 if any(row.unread for row in rows) else 0
        if self.execution.profile != IN_THIS_PROCESS.profile:
            return self._run_shares(choice)
        failed = segment_participants(
            layout, choice, self.computation, self.brain, self.regions, overwrite=self.overwrite
        )
        name_files("Derivative", self.out)
        return 3 if failed else 0

    def _run_shares(self, choice: "Choice") -> int:
        from mapping_stroke.cohort.bids_group import BIDS_COLUMNS
        from mapping_stroke.cohort.bids_scans import find_bids_scans
        from mapping_stroke.cohort.regions import choose_atlas
        from mapping_stroke.cohort.shared_folder import run_shares
        from mapping_stroke.console import name_files
        from mapping_stroke.errors import ConfigError

        if self.shard:
            raise ConfigError("--shard and --profile exclude each other: with a profile, every job gets its own share")
        choose_atlas(self.regions, BIDS_COLUMNS)  # refused here, and not in every job
        count = len(find_bids_scans(self.bids_dir, choice).cases)
        options = as_options(
            replace(self, computation=_everywhere(self.computation), execution=IN_THIS_PROCESS),
            Bids(self.bids_dir, self.out, self.level),
        )
        command = ["bids", str(self.bids_dir.absolute()), str(self.out.absolute()), self.level, *options]
        result = run_shares(self.out, command, self.execution, self.computation.device, scans=count, by_shard=True)
        name_files("Derivative", self.out)
        return result.status


SCANS = Path("/input/images/t1-brain-mri")
MASKS = Path("/output/images/stroke-lesion-segmentation")
PORT = 4743
"""Folders and port that the platform uses."""


@dataclass(frozen=True)
class InContainer(Computation):
    """The model and how it is applied."""

    weights: Path = Path("/opt/ml/model")
    """Folder into which the platform unpacks an uploaded model, a `.mapping` file or model folder, which is then used
    instead of `--model`."""


@dataclass(frozen=True)
class Atlas2022:
    """Segment every scan of a folder into another folder and exit, as the challenge of 2022 requires."""

    scans: Path = SCANS
    """Folder with the scans, `.mha` or `.nii.gz`."""
    masks: Path = MASKS
    """Folder for the masks, named like their scans."""
    computation: InContainer = field(default_factory=InContainer)

    def run(self) -> int:
        """Status 0 if every scan has a mask, perhaps an empty one; 3 if one has none, or if all of several failed.

        A folder of one scan may be one of many jobs, none of which may fail (decision 48).
        """
        from mapping_stroke.cohort.challenge import ChallengeFolders, segment_challenge

        folders = ChallengeFolders(self.scans, self.masks)
        outcomes = segment_challenge(folders, self.computation, self.computation.weights)
        all_failed = len(outcomes) > 1 and all(outcome.error for outcome in outcomes)
        return 3 if all_failed or any(outcome.lost for outcome in outcomes) else 0


@dataclass(frozen=True)
class Isles2026:
    """Serve `GET /health` and `POST /invoke`, as ISLES'26 requires, until a signal asks to stop."""

    scans: Path = SCANS
    """Folder with the scan of an invocation, `.mha` or `.nii.gz`."""
    masks: Path = MASKS
    """Folder for its mask, of the same name."""
    probabilities: Path = Path("/output/images/lesion-probability-map")
    """Folder for its probability map, of the same name."""
    host: str = "0.0.0.0"
    """Address to listen on; outside a container prefer `127.0.0.1`, which only this machine can reach."""
    port: int = PORT
    """Port to listen on; 0 for any free one."""
    computation: InContainer = field(default_factory=InContainer)

    def run(self) -> int:
        """Status 0 once it is stopped."""
        from mapping_stroke.cohort.challenge import ChallengeFolders, serve_challenge

        folders = ChallengeFolders(self.scans, self.masks, self.probabilities)
        serve_challenge(folders, self.computation, self.computation.weights, (self.host, self.port))
        return 0


Action = Annotated[Atlas2022, subcommand("atlas2022")] | Annotated[Isles2026, subcommand("isles2026")]


@dataclass(frozen=True)
class GrandChallenge:
    """Run as the algorithm of a challenge on grand-challenge.org, inside its container."""

    action: Action

    def run(self) -> int:
        """Run the chosen challenge."""
        return self.action.run()


@dataclass(frozen=True)
class App:
    """Segment, look at, rate and correct scans in a browser; nothing leaves this machine."""

    folder: Positional[Path] = Path("mapping-results")
    """Results folder of `mapping segment` or `mapping bids`; a new one is made. Scans dropped on the page are copied
    into a folder beside it, FOLDER-uploads."""
    port: int = 8765
    """Port on 127.0.0.1; another one is taken if it is in use, any free one for 0."""
    no_browser: bool = False
    """Only print the address."""
    show_head: bool = False
    """Show the whole head on the pages of scans that are dropped, face included."""
    computation: Computation = field(default_factory=Computation)
    regions: RegionOptions = NO_REGIONS

    def run(self) -> int:
        """Serve until interrupted by Ctrl+C."""
        from mapping_stroke.app.server import AppSettings, serve

        settings = AppSettings(
            self.folder,
            self.port,
            self.computation,
            self.regions,
            show_head=self.show_head,
            open_browser=not self.no_browser,
        )
        serve(settings)
        return 0
