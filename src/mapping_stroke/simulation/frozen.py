"""The frozen hold-out: its planned cases, written as files and compared with the published table."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from mapping_stroke.console import counted, name_files, say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import ConfigError
from mapping_stroke.files import read_csv, write_csv
from mapping_stroke.images.image import read_image
from mapping_stroke.run_folder import claimed
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.bank import DEFORMATION, Draft, Mix, SimulationBank, load_bank, make_case, place_lesions
from mapping_stroke.simulation.brain import draw_rendering
from mapping_stroke.simulation.case import Look, draw_any_look
from mapping_stroke.simulation.cohort import GENERATOR_VERSION, TEMPLATE, Sources
from mapping_stroke.simulation.frozen_plan import FROZEN_SEED, FrozenCase, Resolution, plan_frozen
from mapping_stroke.simulation.head import draw_meninges
from mapping_stroke.simulation.scanner import PROTOCOLS, Scanner, draw_any_scanner
from mapping_stroke.simulation.settings import FROZEN_CASES
from mapping_stroke.simulation.variants import SHADES, VARIANTS, make_variants

T = TypeVar("T")

TRIES = 10_000
"""Draws after which a value counts as impossible."""


def make_frozen(bank: SimulationBank, case: FrozenCase) -> CaseArrays:
    """Simulate a planned case.

    Args:
        bank: Brains and masks; its mix and scanner are ignored.
        case: The case. A twin has the voxels of its case with lesions, but without the lesions.
    """
    rng = case.rng()
    draft = draft_frozen(bank, case, rng)
    return make_case(bank, draft.twin if case.role == "twin" else draft, rng)


def draft_frozen(bank: SimulationBank, case: FrozenCase, rng: np.random.Generator) -> Draft:
    """Draw a planned case by rejection sampling: redraw each property until it matches the plan."""
    host = bank.hosts[int(case.place * len(bank.hosts))]
    dealt = replace(bank, mix=Mix(drawn=0.0 if case.real_masks else 1.0))
    lesions = place_lesions(dealt, host, case.load_mm3, rng)
    return Draft(f"frozen-{case.number:03d}", host, lesions, _draw_look(case, rng))


def resolution_of(scanner: Scanner) -> Resolution:
    """Kind of voxel size of a drawn scanner."""
    if scanner.slice_mm > 2:
        return "thick slices"
    return "2 mm" if scanner.plane_mm > 0 else "fine"


def _draw_look(case: FrozenCase, rng: np.random.Generator) -> Look:
    scanner = _draw_until(
        lambda: draw_any_scanner(rng, (PROTOCOLS[case.protocol],)),
        lambda scanner: resolution_of(scanner) == case.resolution,
    )
    # 1 or 0 as probability: scanner space is prescribed
    look = draw_any_look(case.load_mm3, scanner, case.kind, DEFORMATION, rng, 1.0 if case.free else 0.0)
    meninges = look.meninges
    if meninges is not None:
        meninges = _draw_until(
            lambda: draw_meninges(look.age, rng), lambda meninges: meninges.enhanced == case.contrast_medium
        )
    rendering = _draw_until(lambda: draw_rendering(rng), lambda rendering: (rendering is not None) == case.rendered)
    pools = [row for row in VARIANTS if row.name in case.variants]
    dim = [row for row in SHADES if row.name in case.shades]
    return replace(look, meninges=meninges, rendering=rendering, variants=make_variants(pools, dim, rng))


def _draw_until(draw: Callable[[], T], fits: Callable[[T], bool]) -> T:
    """Rejection sampling: redraw until the value fits."""
    for _ in range(TRIES):
        drawn = draw()
        if fits(drawn):
            return drawn
    raise AssertionError("the plan requires a value that is never drawn")


NAME, TABLE_FILE, CACHE = "frozen", "cases.tsv", "sources"
CONTENTS = ("*_T1w.nii.gz", "*_mask.nii.gz", TABLE_FILE, CACHE)
PINNED_FILE = Path(__file__).with_name("frozen_hold_out.tsv")
"""The table written when the hold-out was frozen; `CONTRIBUTING.md` explains how to renew it."""
COLUMNS = (
    *("case_id", "role", "twin_of", "asked_ml", "lesions", "kind", "space", "protocol", "resolution"),
    *("contrast_medium", "rendered", "variants", "load_ml", "mask_sha256", "mean_intensity", "made_from"),
)
MEAN_TOLERANCE = 0.1
"""Tolerance of mean intensities (1 to 255), for rounding differences between processors."""
NAMED = 5
"""Differing cases that are named; the rest is counted."""

Row = Mapping[str, str]


def write_frozen(
    folder: Path, sources: Sources, device: torch.device, cases: int = FROZEN_CASES, *, overwrite: bool = False
) -> list[str]:
    """Write the missing cases of the frozen hold-out and the table of all cases, and compare it with the published one.

    Args:
        folder: Folder of the cases; `mapping models evaluate --cohort` reads it.
        sources: Brains and masks, of which the test split is used.
        device: Device for the simulation.
        cases: Number of cases, from the beginning of the plan.
        overwrite: Replace cases that were made from other sources or by another version.

    Returns:
        The ids of the cases that differ from the published ones, after a warning.

    Raises:
        MappingError: The number is out of range, a source is unusable, or the folder holds something else.
    """
    plan = plan_frozen()
    if not 1 <= cases <= len(plan):
        raise ConfigError(f"got --cases {cases}, expected 1 to {len(plan)}, the number of cases in the frozen hold-out")
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
    """Ids of the cases that differ from the published ones or are unknown. Mean intensities have a tolerance."""
    expected = {row["case_id"]: row for row in pinned}
    return [row["case_id"] for row in rows if not _agrees(row, expected.get(row["case_id"], {}))]


def _agrees(row: Row, pinned: Row) -> bool:
    close = ("mean_intensity", "made_from")  # renamed sources may hold the same scans
    if any(row[column] != pinned.get(column) for column in COLUMNS if column not in close):
        return False
    return abs(float(row["mean_intensity"]) - float(pinned["mean_intensity"])) <= MEAN_TOLERANCE


def plan_row(case: FrozenCase) -> dict[str, str]:
    """The planned properties of a case, as a row of the table."""
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
    """The measured properties of a case, from its files."""
    mask = read_image(held_out.mask_of(folder, NAME, number))
    scan = read_image(held_out.scan_of(folder, NAME, number)).voxels
    lesion = mask.voxels > 0
    # with the shape, since packed bits do not contain it
    digest = hashlib.sha256(str(lesion.shape).encode() + np.packbits(lesion).tobytes()).hexdigest()
    return {
        "load_ml": f"{float(lesion.sum()) * mask.voxel_volume_mm3 / 1000:.3f}",
        "mask_sha256": digest[:16],
        "mean_intensity": f"{scan[scan > 0].mean(dtype=np.float64):.2f}",
    }


def _report(rows: Sequence[Row], pinned: Sequence[Row]) -> list[str]:
    differ = differing(rows, pinned)
    if not differ:
        say(f"{counted(len(rows), 'case')} as frozen: scores on them are comparable with others'")
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
        f"are not comparable with others'. Made from: {rows[0]['made_from']}. Frozen: {frozen_from}"
    )
    return differ
