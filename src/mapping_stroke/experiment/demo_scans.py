"""The scans that `mapping demo` shows a model: simulated on the ICBM template inside nilearn, so no data is needed."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from mapping_stroke.console import counted, say, track
from mapping_stroke.dataset.grid import ATLAS_GRID
from mapping_stroke.dataset.simulate.ageing import draw_ageing
from mapping_stroke.dataset.simulate.anatomy import Brain
from mapping_stroke.dataset.simulate.appearance import draw_appearance
from mapping_stroke.dataset.simulate.case import Look, simulate_case
from mapping_stroke.dataset.simulate.deformation import draw_deformation
from mapping_stroke.dataset.simulate.intensity import draw_scanner, store
from mapping_stroke.dataset.simulate.shapes import allowed_region, draw_lesions
from mapping_stroke.experiment.simulate import TEMPLATE_STRENGTH
from mapping_stroke.experiment.simulation_sources import read_template
from mapping_stroke.experiment.simulation_tables import GENERATOR_VERSION, TEMPLATE
from mapping_stroke.image import write_image
from mapping_stroke.run_folder import MASK_SUFFIX, claim_folder

GRID = ATLAS_GRID
"""Of the scans; a coarser one in tests."""
SCAN_SUFFIX, TRUTH_SUFFIX = ".nii.gz", f"_true{MASK_SUFFIX}"


@dataclass(frozen=True)
class DemoScan:
    """A simulated, well stripped scan in MNI space; not a patient.

    Attributes:
        name: Of its file, without suffix.
        parts_mm3: Volume of each of its lesions; none for a healthy brain.
        age: 0 young to 1 old.
        seed: Decides where the lesions lie, how they look, and everything else.
    """

    name: str
    parts_mm3: tuple[float, ...]
    age: float
    seed: int

    def scan(self, folder: Path) -> Path:
        """The scan's file."""
        return folder / f"{self.name}{SCAN_SUFFIX}"

    def truth(self, folder: Path) -> Path:
        """The file of the lesions that were put in; there is none for a healthy brain."""
        return folder / f"{self.name}{TRUTH_SUFFIX}"

    def is_there(self, folder: Path) -> bool:
        """Whether its files have been written."""
        return self.scan(folder).is_file() and (not self.parts_mm3 or self.truth(folder).is_file())


DEMO_SCANS = (
    DemoScan("simulated-stroke", (20_000.0, 1_500.0), age=0.6, seed=0),
    DemoScan("simulated-healthy", (), age=0.75, seed=4),
)
"""A typical stroke, a middle-sized lesion and a small one; and an old brain, which has none."""


def make_demo_scans(folder: Path, *, overwrite: bool = False) -> None:
    """Write the scans, and the true lesions beside them, that are not there yet; seconds each.

    Args:
        folder: Where to; a repeat finds its scans there.
        overwrite: Replace the scans of another version.

    Raises:
        RunFolderError: The folder holds something else.
    """
    identity = {
        "command": "demo",
        "simulated": True,
        "generator": GENERATOR_VERSION,
        "brain": TEMPLATE,
        "grid": asdict(GRID),
        "scans": [asdict(scan) for scan in DEMO_SCANS],
    }
    claim_folder(folder, identity, (f"*{SCAN_SUFFIX}",), overwrite=overwrite)
    missing = [scan for scan in DEMO_SCANS if not scan.is_there(folder)]
    if not missing:
        return
    say(f"Simulating {counted(len(missing), 'scan')} (some seconds each)")
    brain = read_template(GRID)
    for scan in track(missing, "Simulating", len(missing)):
        _make(scan, brain, folder)


def _make(scan: DemoScan, brain: Brain, folder: Path) -> None:
    rng, load_mm3 = np.random.default_rng(scan.seed), sum(scan.parts_mm3)
    lesions = draw_lesions(brain, allowed_region(brain), scan.parts_mm3, rng)
    look = Look(
        age=scan.age,
        ageing=draw_ageing(scan.age, rng),
        deformation=draw_deformation(scan.age, load_mm3, TEMPLATE_STRENGTH, rng),
        appearance=draw_appearance(load_mm3, rng),
        scanner=draw_scanner(rng),
    )
    made = simulate_case(brain, lesions, look, rng)
    voxels, mask = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.bool_)
    voxels[brain.box], mask[brain.box] = store(made.scan, made.coverage).numpy(), made.mask.numpy()
    if scan.parts_mm3:
        write_image(scan.truth(folder), mask, GRID.affine)
    write_image(scan.scan(folder), voxels, GRID.affine)
