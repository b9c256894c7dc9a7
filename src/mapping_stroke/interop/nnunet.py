"""nnU-Net's models, v1 and v2 in, v2 out: what the rest of the package calls."""

from pathlib import Path

from mapping_stroke.errors import BundleError, ConfigError, FileError
from mapping_stroke.interop import nnunet_v1, nnunet_v2
from mapping_stroke.interop.export_nnunet_v2 import write_nnunet_v2
from mapping_stroke.interop.imported import ImportedModel

__all__ = ["ImportedModel", "read_nnunet", "write_nnunet_v2"]


def read_nnunet(
    folder: Path, *, scheme: str | None = None, orientation: str = "RAS", checkpoint: str = "final"
) -> ImportedModel:
    """Read a result folder of nnU-Net, v1 or v2; executes nothing from its files.

    Args:
        folder: `.../TRAINER__PLANS__CONFIGURATION` (v2, with plans.json) or `.../TRAINER__PLANS` (v1, with plans.pkl).
        scheme: What to call the members; None guesses from trainer and network.
        orientation: Where the axes of the scans point that the networks were trained on. nnU-Net does not record it
            (its usual readers keep each file's own axes); scans in MNI space are RAS.
        checkpoint: `final`, `best` or `latest`.

    Raises:
        BundleError: The folder is incomplete or damaged, a pickle in it asks to call something, or the model is one
            that a bundle cannot hold; the message says which.
    """
    if checkpoint not in nnunet_v1.CHECKPOINTS:
        raise BundleError(f"checkpoint {checkpoint!r} is not known; expected one of {', '.join(nnunet_v1.CHECKPOINTS)}")
    for plans_file, read in ((nnunet_v2.PLANS_FILE, nnunet_v2.read_v2), (nnunet_v1.PLANS_FILE, nnunet_v1.read_v1)):
        path = folder / plans_file
        if path.is_file():
            try:
                return read(folder, scheme, orientation, checkpoint)
            except (ConfigError, TypeError, AttributeError, LookupError, ValueError) as error:
                if isinstance(error, FileError):
                    raise
                raise BundleError(f"{path}: cannot be understood ({error}); copy the whole folder again") from error
    inside = sorted(path.parent for path in folder.glob("*__*/plans.*"))
    hint = f"; it holds {', '.join(path.name for path in inside)}: name one of these" if inside else ""
    raise BundleError(f"{folder}: has neither plans.json nor plans.pkl, expected nnU-Net's result folder{hint}")
