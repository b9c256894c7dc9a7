"""`mapping evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


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
        from mapping_stroke.experiment.evaluate import evaluate_folder, evaluate_run, pair_folders
        from mapping_stroke.experiment.score_files import CONTENTS
        from mapping_stroke.run_folder import RunFolder, claimed, is_run_folder

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
