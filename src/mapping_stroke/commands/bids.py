"""`mapping bids`."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from mapping_stroke.commands.computation import Computation


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
        from mapping_stroke.console import name_files
        from mapping_stroke.errors import ConfigError
        from mapping_stroke.experiment.bids_app import segment_participants, tell_group
        from mapping_stroke.experiment.bids_group import PAGE, TABLE
        from mapping_stroke.experiment.bids_scans import Choice

        choice = Choice(self.participant_label, self.session_label, self.shard)
        if (self.atlas is None) != (self.atlas_labels is None):
            raise ConfigError("--atlas and --atlas-labels belong together; give both, or neither")
        if self.level == "group":
            rows = tell_group(self.bids_dir, self.out, choice, self.atlas, self.atlas_labels)
            name_files("Table", self.out / TABLE)
            name_files("Page to look at", self.out / PAGE)
            return 3 if any(row.unread for row in rows) else 0
        model, config = self.computation.model, self.computation.config(brain=self.brain)
        failed = segment_participants(self.bids_dir, self.out, choice, model, config, overwrite=self.overwrite)
        name_files("Derivative", self.out)
        return 3 if failed else 0
