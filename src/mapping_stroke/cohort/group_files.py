"""Names of the files about all scans of an output folder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupFiles:
    """Names that begin alike: `cohort` in a plain output folder, `group` in a BIDS derivative."""

    stem: str

    @property
    def page(self) -> str:
        """The page."""
        return f"{self.stem}.html"

    @property
    def table(self) -> str:
        """One row per scan."""
        return f"{self.stem}_lesions.tsv"

    @property
    def dictionary(self) -> str:
        """Meaning of the columns."""
        return f"{self.stem}_lesions.json"

    @property
    def overlap(self) -> str:
        """Number of scans with a lesion at each voxel of MNI152 space."""
        return f"{self.stem}_overlap.nii.gz"

    @property
    def mirrored(self) -> str:
        """The same, with the lesions of both sides on the left hemisphere."""
        return f"{self.stem}_overlap_mirrored.nii.gz"

    @property
    def overlap_facts(self) -> str:
        """Which scans are in the maps, and which are not."""
        return f"{self.stem}_overlap.json"

    @property
    def overlap_picture(self) -> str:
        """Slices of both maps."""
        return f"{self.stem}_overlap.png"

    @property
    def of_overlap(self) -> tuple[str, ...]:
        """The files of the overlap maps."""
        return self.overlap, self.mirrored, self.overlap_facts, self.overlap_picture

    @property
    def all(self) -> tuple[str, ...]:
        """Every name."""
        return self.page, self.table, self.dictionary, *self.of_overlap
