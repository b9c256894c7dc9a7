"""The commands that segment new scans: `mapping segment`, `mapping bids`, `mapping grand-challenge`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg, subcommand

if TYPE_CHECKING:
    from mapping_stroke.cohort.settings import SegmentConfig


@dataclass(frozen=True)
class Computation:
    """Which model segments, and how."""

    model: str = "default"
    """A `.mapping` file, a model folder, a run folder in which `mapping train` has finished, or the name of a model
    that came with the installation. Weights of nnU-Net become a model by `mapping models import`."""
    preset: Literal["fast", "balanced", "paper"] = "balanced"
    """`fast`: one member, in one window where the model's card says so. `balanced`: all members. `paper`: all members,
    each over the mirrorings that its training had, 8 for the paper's."""
    rule: Literal["mapping", "challenge", "paper", "none"] = "mapping"
    """Post-processing. `challenge` marks something in every scan."""
    space: Literal["auto", "native", "mni"] = "auto"
    """`auto`: a scan that does not lie in MNI152 space is registered for a model that was made for it, and the results
    come back to the scan's own grid; a model for another or an unknown space sees scans as they are. `native`: every
    scan is registered. `mni`: none is."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda` or `mps`."""
    engine: Literal["auto", "openvino", "torch"] = "auto"
    """What computes the networks; `auto` takes OpenVINO on x86 processors, torch everywhere else."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the convolutions; `auto` takes the fastest that the processor or GPU computes well."""

    def config(self, **others: Any) -> "SegmentConfig":
        """The settings for the work itself, with others that only some commands have."""
        from mapping_stroke.cohort.settings import SegmentConfig

        return SegmentConfig(
            preset=self.preset,
            rule=self.rule,
            space=self.space,
            device=self.device,
            engine=self.engine,
            precision=self.precision,
            **others,
        )


@dataclass(frozen=True)
class Segment:
    """Segment new scans: lesion mask, brain mask, probability, uncertainty, lesion table and pictures of each."""

    paths: Positional[tuple[Path, ...]]
    """T1w scans (.nii, .nii.gz, .mgz, .mgh, .mha, .mhd, .nrrd), or folders of them, or folders that hold a T1w DICOM
    series. Raw ones for a model that was made for MNI152 space, else as its training scans were."""
    output: Annotated[Path, arg(aliases=["-o"])]
    """Output folder; files are named after the scans. The same call again goes on where it stopped."""
    computation: Computation = field(default_factory=Computation)
    scans: Annotated[str | None, arg(metavar="PATTERN")] = None
    """In the folders given and below them, the images of this name alone, such as '*/T1.nii.gz'; what `*` stands for
    names the outputs, as cases of `mapping prepare`."""
    brain: Path | None = None
    """Your own brain mask (0 and 1, on the scan's grid in any order of axes), instead of the one that is found; for
    several scans a folder that holds NAME_brain.nii.gz, or another image suffix, for each or some, as this command
    names them. The scan is registered by it, and a model for brains alone sees what lies within; a model for which
    scans are neither registered nor stripped refuses it."""
    series: str = ""
    """Which DICOM series of a folder to take, by number, UID or description; without it the one that looks like a
    three-dimensional T1w scan."""
    dicom_seg: bool = False
    """Write each mask as DICOM SEG, too. It repeats the patient's name, identifier and date of birth from the scan, as
    the standard asks; no other output does."""
    probability: Literal["uint8", "float32"] = "uint8"
    """How probability and uncertainty are stored: in 255 steps, or exactly and four times as large."""
    no_picture: bool = False
    """Draw no picture of each scan."""
    overwrite: bool = False
    """Replace what another model or other settings wrote into the output folder."""

    def run(self) -> int:
        """Segment every scan; one that fails does not stop the others."""
        from mapping_stroke.cohort.loop import segment_scans
        from mapping_stroke.console import name_files

        config = self.computation.config(
            series=self.series,
            dicom_seg=self.dicom_seg,
            storage=self.probability,
            picture=not self.no_picture,
            brain=self.brain,
        )
        failed = segment_scans(
            self.paths, self.output, self.computation.model, config, pattern=self.scans, overwrite=self.overwrite
        )
        name_files("Masks, probabilities, lesion tables and run.json", self.output)
        return 3 if failed else 0


@dataclass(frozen=True)
class Bids:
    """Segment the T1w scans of a BIDS data set into a BIDS derivative, and make the table of the group (a BIDS App)."""

    bids_dir: Positional[Path]
    """Folder of the data set."""
    out: Positional[Path]
    """Folder of the derivative, such as `BIDS_DIR/derivatives/mapping`. The same call again goes on where it stopped,
    and several may run at once."""
    level: Positional[Literal["participant", "group"]]
    """`participant` segments scans; `group`, when they are done, writes `group_lesions.tsv` and `group.html`."""
    participant_label: tuple[str, ...] = ()
    """Only these participants, with or without `sub-`."""
    session_label: tuple[str, ...] = ()
    """Only these sessions, with or without `ses-`."""
    shard: str = ""
    """`i/N`: the i-th of N shares of the scans, for N processes or machines."""
    computation: Computation = field(default_factory=Computation)
    atlas: Path | None = None
    """`group`: image of numbered regions in MNI152 space; the table gets the volume in each."""
    atlas_labels: Path | None = None
    """`group`: table of the regions, with a column `index` and a column `name`."""
    brain: Path | None = None
    """`participant`: folder of your own brain masks, named as here (`sub-X_space-orig_desc-brain_mask.nii.gz`), in the
    folders of participants or side by side; scans without one have theirs found. See `mapping segment`."""
    skip_bids_validation: bool = False
    """Taken because BIDS Apps do; nothing is validated here: run the BIDS validator yourself."""
    overwrite: bool = False
    """`participant`: replace what another model or other settings wrote into the folder."""

    def run(self) -> int:
        """Segment, or write the table; a scan that fails does not stop the others."""
        from mapping_stroke.cohort.bids import report_group, segment_participants
        from mapping_stroke.cohort.bids_group import PAGE, TABLE
        from mapping_stroke.cohort.bids_scans import Choice
        from mapping_stroke.console import name_files
        from mapping_stroke.errors import ConfigError

        choice = Choice(self.participant_label, self.session_label, self.shard)
        if (self.atlas is None) != (self.atlas_labels is None):
            raise ConfigError("--atlas and --atlas-labels belong together; give both, or neither")
        if self.level == "group":
            rows = report_group(self.bids_dir, self.out, choice, self.atlas, self.atlas_labels)
            name_files("Table", self.out / TABLE)
            name_files("Page to look at", self.out / PAGE)
            return 3 if any(row.unread for row in rows) else 0
        model, config = self.computation.model, self.computation.config(brain=self.brain)
        failed = segment_participants(self.bids_dir, self.out, choice, model, config, overwrite=self.overwrite)
        name_files("Derivative", self.out)
        return 3 if failed else 0


if TYPE_CHECKING:
    from mapping_stroke.cohort.challenge import ModelChoice

SCANS = Path("/input/images/t1-brain-mri")
MASKS = Path("/output/images/stroke-lesion-segmentation")
PORT = 4743
"""Where the platform lays scans, looks for masks, and expects the service."""


@dataclass(frozen=True)
class InContainer(Computation):
    """Which model segments, and how."""

    weights: Path = Path("/opt/ml/model")
    """Where the platform unpacks a model that was uploaded beside the container, a `.mapping` file or model folder: it
    is used in place of `--model`."""

    def choice(self) -> "ModelChoice":
        """The same for the work itself."""
        from mapping_stroke.cohort.challenge import ModelChoice

        return ModelChoice(self.model, self.weights, self.config())


@dataclass(frozen=True)
class Atlas2022:
    """Segment every scan of a folder into another, as the challenge of 2022 asks, and end."""

    scans: Path = SCANS
    """Holds the scans, `.mha` or `.nii.gz`."""
    masks: Path = MASKS
    """Takes a mask for each, of the same name."""
    computation: InContainer = field(default_factory=InContainer)

    def run(self) -> int:
        """Status 0 where every scan has a mask, perhaps an empty one; 3 where one has none, or all of several failed.

        A folder of one scan may be one job of many, of which none must fail (decision 48).
        """
        from mapping_stroke.cohort.challenge import ChallengeFolders, segment_challenge

        outcomes = segment_challenge(ChallengeFolders(self.scans, self.masks), self.computation.choice())
        all_failed = len(outcomes) > 1 and all(outcome.error for outcome in outcomes)
        return 3 if all_failed or any(outcome.lost for outcome in outcomes) else 0


@dataclass(frozen=True)
class Isles2026:
    """Serve `GET /health` and `POST /invoke`, as ISLES'26 asks, until a signal asks to stop."""

    scans: Path = SCANS
    """Holds the scan of an invocation, `.mha` or `.nii.gz`."""
    masks: Path = MASKS
    """Takes its mask, of the same name."""
    probabilities: Path = Path("/output/images/lesion-probability-map")
    """Takes its probability map, of the same name."""
    host: str = "0.0.0.0"
    """Address to listen on; outside a container rather `127.0.0.1`, which only this machine reaches."""
    port: int = PORT
    """Port to listen on; 0 takes any that is free."""
    computation: InContainer = field(default_factory=InContainer)

    def run(self) -> int:
        """Status 0 once it was stopped."""
        from mapping_stroke.cohort.challenge import ChallengeFolders, serve_challenge

        folders = ChallengeFolders(self.scans, self.masks, self.probabilities)
        serve_challenge(folders, self.computation.choice(), self.host, self.port)
        return 0


Action = Annotated[Atlas2022, subcommand("atlas2022")] | Annotated[Isles2026, subcommand("isles2026")]


@dataclass(frozen=True)
class GrandChallenge:
    """Be the algorithm of a challenge on grand-challenge.org, inside its container."""

    action: Action

    def run(self) -> int:
        """Do as that challenge asks."""
        return self.action.run()
