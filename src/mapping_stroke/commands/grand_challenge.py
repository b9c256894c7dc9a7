"""`mapping grand-challenge`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import subcommand

from mapping_stroke.commands.computation import Computation

if TYPE_CHECKING:
    from mapping_stroke.experiment.grand_challenge import ModelChoice

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
        from mapping_stroke.experiment.grand_challenge import ModelChoice

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
        from mapping_stroke.experiment.grand_challenge import segment_challenge
        from mapping_stroke.interop.grand_challenge import ChallengeFolders

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
        from mapping_stroke.experiment.grand_challenge import serve_challenge
        from mapping_stroke.interop.grand_challenge import ChallengeFolders

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
