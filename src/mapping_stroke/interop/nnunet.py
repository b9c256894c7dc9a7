"""nnU-Net's models, v1 and v2 in, v2 out: what the rest of the package calls."""

from pathlib import Path

from mapping_stroke.errors import BundleError, ConfigError, FileError
from mapping_stroke.interop import nnunet_v1, nnunet_v2
from mapping_stroke.interop.export_nnunet_v2 import write_nnunet_v2
from mapping_stroke.interop.imported import ImportedModel
from mapping_stroke.networks.nnunet_results import (
    CHECKPOINTS_V1,
    PLANS_V1,
    PLANS_V2,
    choose_result,
    is_result,
    results_below,
    tell_import,
)

__all__ = ["ImportedModel", "find_result", "read_nnunet", "write_nnunet_v2"]


def read_nnunet(
    folder: Path, *, scheme: str | None = None, orientation: str = "RAS", checkpoint: str = "final"
) -> ImportedModel:
    """Read a result folder of nnU-Net, v1 or v2; executes nothing from its files.

    Args:
        folder: `.../TRAINER__PLANS__CONFIGURATION` (v2, with plans.json) or `.../TRAINER__PLANS` (v1, with plans.pkl);
            or a folder around it, such as its data set's, that holds no other one which could be meant.
        scheme: What to call the members; None guesses from trainer and network.
        orientation: Where the axes of the scans point that the networks were trained on. nnU-Net does not record it
            (its usual readers keep each file's own axes); scans in MNI space are RAS.
        checkpoint: `final`, `best` or `latest`.

    Raises:
        BundleError: The folder is incomplete or damaged, a pickle in it asks to call something, or the model is one
            that a bundle cannot hold; the message says which.
    """
    if checkpoint not in CHECKPOINTS_V1:
        raise BundleError(f"checkpoint {checkpoint!r} is not known; expected one of {', '.join(CHECKPOINTS_V1)}")
    folder = find_result(folder)
    new = (folder / PLANS_V2).is_file()
    try:
        return (nnunet_v2.read_v2 if new else nnunet_v1.read_v1)(folder, scheme, orientation, checkpoint)
    except (ConfigError, TypeError, AttributeError, LookupError, ValueError) as error:
        if isinstance(error, FileError):
            raise
        path = folder / (PLANS_V2 if new else PLANS_V1)
        raise BundleError(f"{path}: cannot be understood ({error}); copy the whole folder again") from error


def find_result(path: Path) -> Path:
    """The result folder that a path means: itself, or the only one below it that could be meant.

    Raises:
        BundleError: There is none, or there are several, or the path is a part of one.
    """
    if is_result(path):
        return path
    chosen = choose_result(results_below(path)) if path.is_dir() else None
    if chosen is None:
        raise BundleError(
            tell_import(path) or f"{path}: has neither plans.json nor plans.pkl, expected nnU-Net's result folder"
        )
    return chosen
