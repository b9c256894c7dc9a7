"""`mapping postprocess`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


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
        from mapping_stroke.experiment.postprocess import CONTENTS, find_maps, postprocess_folder, postprocess_run
        from mapping_stroke.run_folder import RunFolder, claimed, is_run_folder

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
