"""What reading another program's model gives."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mapping_stroke.errors import BundleError
from mapping_stroke.networks.cards import MemberCard
from mapping_stroke.networks.spec import Weights


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """Members as another program trained them; their weights are read one at a time, when they are asked for."""

    members: tuple[MemberCard, ...]
    average: Literal["probability", "logit"]
    """How that program combines members and overlapping tiles."""
    description: str
    """Trainer, plans and source, in one line."""
    reader: Callable[[int], Weights]

    def weights(self, number: int) -> Weights:
        """The weights of `members[number]`, checked against its network; raises `BundleError` by name."""
        return self.reader(number)


def require(values: Any, name: str, path: Path) -> Any:
    """The entry of that name; raises `BundleError` where a file lacks it."""
    if not isinstance(values, dict) or name not in values:
        raise BundleError(f"{path}: has no entry {name!r}, expected what nnU-Net writes; copy that file again")
    return values[name]


def refusal(path: Path, found: str, expected: str) -> BundleError:
    """The refusal of a model that is sound, but that a bundle cannot hold."""
    return BundleError(f"{path}: {found}, expected {expected}; such a model cannot be imported")


def missing_checkpoint(folder: Path, files: Mapping[str, str], wanted: str) -> BundleError:
    """The refusal of a result folder without a checkpoint of the wanted kind, given the file's name of every kind."""
    others = [kind for kind, file in files.items() if any(folder.glob(f"*/{file}"))]
    remedy = (
        f"it has {files[others[0]]}: give --checkpoint {others[0]}" if others else "copy nnU-Net's whole result folder"
    )
    return BundleError(f"{folder}: has no fold_*/{files[wanted]}, expected at least one; {remedy}")
