"""The frozen hold-out as files, and whether they are what they were when it was frozen."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from mapping_stroke.console import counted, name_files, say, warn
from mapping_stroke.dataset.simulate.frozen_case import make_frozen
from mapping_stroke.dataset.simulate.frozen_plan import FROZEN_CASES, FROZEN_SEED, FrozenCase, plan_frozen
from mapping_stroke.errors import ConfigError
from mapping_stroke.experiment import held_out
from mapping_stroke.experiment.simulation_bank import load_bank
from mapping_stroke.experiment.simulation_tables import GENERATOR_VERSION, TEMPLATE, Sources
from mapping_stroke.files import read_csv, write_csv
from mapping_stroke.image import read_image
from mapping_stroke.run_folder import claimed

NAME, TABLE_FILE, CACHE = "frozen", "cases.tsv", "sources"
CONTENTS = ("*_T1w.nii.gz", "*_mask.nii.gz", TABLE_FILE, CACHE)
PINNED_FILE = Path(__file__).with_name("frozen_hold_out.tsv")
"""The table that was written when the hold-out was frozen; `CONTRIBUTING.md` says how it is renewed."""
COLUMNS = (
    *("case_id", "role", "twin_of", "asked_ml", "lesions", "kind", "space", "protocol", "resolution"),
    *("contrast_medium", "rendered", "variants", "load_ml", "mask_sha256", "mean_intensity", "made_from"),
)
MEAN_TOLERANCE = 0.1
"""Mean intensities (1 to 255) that differ by no more are the same: processors round differently."""
NAMED = 5
"""Of more cases that differ, the rest is counted."""

Row = Mapping[str, str]


def write_frozen(
    folder: Path, sources: Sources, device: torch.device, cases: int = FROZEN_CASES, *, overwrite: bool = False
) -> list[str]:
    """Write the cases of the frozen hold-out that are not there yet and the table of all, and compare it.

    Args:
        folder: Where; `mapping models evaluate --cohort` reads it.
        sources: Brains and masks, of which those that are for test are used.
        device: What simulates.
        cases: Only the first so many of the plan.
        overwrite: Replace what was made from other sources or by another version.

    Returns:
        The ids of the cases that are not what they were when the hold-out was frozen; that has been told.

    Raises:
        MappingError: The number is out of range, a source cannot be used, or the folder holds something else.
    """
    plan = plan_frozen()
    if not 1 <= cases <= len(plan):
        raise ConfigError(f"got --cases {cases}, expected 1 to {len(plan)}: the frozen hold-out has no more")
    made_from = f"generator {GENERATOR_VERSION}, brains {sources.brains_fingerprint or TEMPLATE}"
    made_from += f", masks {sources.masks_fingerprint or 'drawn'}"
    identity = {
        **{"command": "models hold-out", "generator": GENERATOR_VERSION, "seed": FROZEN_SEED},
        **{"brains": sources.brains_fingerprint or TEMPLATE, "people": sources.people},
        "lesions": sources.masks_fingerprint or "drawn",
    }
    with claimed(folder, identity, CONTENTS, overwrite=overwrite):

        def begin() -> held_out.MakeCase:
            bank = load_bank(sources, "test", held_out.SPACING_MM, folder / CACHE, device)
            return lambda number: make_frozen(bank, plan[number])

        held_out.write_missing(folder, NAME, cases, begin)
        rows = [plan_row(case) | _measured(folder, case.number) | {"made_from": made_from} for case in plan[:cases]]
        write_csv(folder / TABLE_FILE, COLUMNS, rows, delimiter="\t")
        name_files("Frozen hold-out", folder / TABLE_FILE)
    return _report(rows, read_csv(PINNED_FILE, "\t"))


def differing(rows: Sequence[Row], pinned: Sequence[Row]) -> list[str]:
    """Ids of the cases that are not as pinned, or not pinned at all; means of intensities may differ a little."""
    expected = {row["case_id"]: row for row in pinned}
    return [row["case_id"] for row in rows if not _agrees(row, expected.get(row["case_id"], {}))]


def _agrees(row: Row, pinned: Row) -> bool:
    close = ("mean_intensity", "made_from")  # sources with other names may hold the same scans
    if any(row[column] != pinned.get(column) for column in COLUMNS if column not in close):
        return False
    return abs(float(row["mean_intensity"]) - float(pinned["mean_intensity"])) <= MEAN_TOLERANCE


def plan_row(case: FrozenCase) -> dict[str, str]:
    """What is planned of a case, as the table has it."""
    return {
        "case_id": f"{NAME}-{case.number:03d}",
        "role": case.role,
        "twin_of": "" if case.twin_of is None else f"{NAME}-{case.twin_of:03d}",
        "asked_ml": f"{case.load_mm3 / 1000:.3f}",
        "lesions": ("real masks" if case.real_masks else "drawn") if case.load_mm3 else "",
        "kind": case.kind,
        "space": "its own" if case.free else "MNI152",
        "protocol": str(case.protocol),
        "resolution": case.resolution,
        "contrast_medium": "yes" if case.contrast_medium else "",
        "rendered": "yes" if case.rendered else "",
        "variants": "; ".join((*case.variants, *(f"dim: {name}" for name in case.shades))),
    }


def _measured(folder: Path, number: int) -> dict[str, str]:
    """What came of a case, read from its files."""
    mask = read_image(held_out.mask_of(folder, NAME, number))
    scan = read_image(held_out.scan_of(folder, NAME, number)).voxels
    lesion = mask.voxels > 0
    digest = hashlib.sha256(str(lesion.shape).encode() + np.packbits(lesion).tobytes()).hexdigest()
    return {
        "load_ml": f"{float(lesion.sum()) * mask.voxel_volume_mm3 / 1000:.3f}",
        "mask_sha256": digest[:16],
        "mean_intensity": f"{scan[scan > 0].mean(dtype=np.float64):.2f}",
    }


def _report(rows: Sequence[Row], pinned: Sequence[Row]) -> list[str]:
    differ = differing(rows, pinned)
    if not differ:
        say(f"{counted(len(rows), 'case')} as frozen: scores on them can be compared with others'")
        return differ
    expected = {row["case_id"]: row for row in pinned}
    loads = {row["case_id"]: row["load_ml"] for row in rows}
    named = [
        f"{name}: {loads[name]} mL, frozen {expected[name]['load_ml']} mL" if name in expected else f"{name}: new"
        for name in differ[:NAMED]
    ]
    more = f" and {len(differ) - NAMED} more" if len(differ) > NAMED else ""
    frozen_from = "; ".join(dict.fromkeys(row["made_from"] for row in pinned)) or "nothing"
    warn(
        f"not as frozen: {len(differ)} of {counted(len(rows), 'case')} ({'; '.join(named)}{more}), so scores on them "
        f"cannot be compared with others'. Made from: {rows[0]['made_from']}. Frozen: {frozen_from}"
    )
    return differ
