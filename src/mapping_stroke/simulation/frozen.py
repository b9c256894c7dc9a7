"""The frozen hold-out: 160 planned cases, written as files and compared with the published table."""

import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch

from mapping_stroke.console import counted, name_files, say, warn
from mapping_stroke.dataset.arrays import CaseArrays
from mapping_stroke.errors import ConfigError
from mapping_stroke.files import read_csv, write_csv
from mapping_stroke.images.image import read_image
from mapping_stroke.run_folder import claimed
from mapping_stroke.simulation import held_out
from mapping_stroke.simulation.bank import (
    DEFORMATION,
    KINDS,
    PLACED_MIX,
    Draft,
    SimulationBank,
    load_bank,
    make_case,
    place_lesions,
)
from mapping_stroke.simulation.brain import RENDERED, draw_rendering
from mapping_stroke.simulation.case import Look, draw_any_look
from mapping_stroke.simulation.cohort import GENERATOR_VERSION, TEMPLATE, Sources
from mapping_stroke.simulation.head import CONTRAST_MEDIUM, Kind, draw_meninges
from mapping_stroke.simulation.lesions import atlas_load_mm3, spread_quantile
from mapping_stroke.simulation.scanner import PROTOCOLS, Scanner, draw_any_scanner
from mapping_stroke.simulation.settings import FROZEN_CASES
from mapping_stroke.simulation.variants import SHADES, VARIANTS, make_variants

Role = Literal["lesion", "healthy", "twin"]
Resolution = Literal["fine", "2 mm", "thick slices"]
T = TypeVar("T")

FROZEN_SEED = 6
CYCLE: tuple[Role, ...] = ("lesion", "lesion", "healthy", "lesion", "lesion", "twin")
"""Repeating order of roles: two thirds have lesions, and half of the others are twins of the preceding case."""
RESOLUTIONS: dict[Resolution, float] = {"fine": 0.76, "2 mm": 0.10, "thick slices": 0.14}
"""Shares of the cases by voxel size, close to those of `draw_any_scanner`."""
FEWEST_DEALT, FEWEST_OF_VARIANT = 2, 4
"""Fewest cases, with and without lesions, for every option and for every large variant."""
LARGE_MM3 = 2_000.0
"""Variants that can reach this volume count as large."""
USUAL_AGE = 0.65
"""Age at which the frequencies of variants are taken: about the mean of all cases."""


@dataclass(frozen=True)
class FrozenCase:
    """A case of the frozen hold-out; everything else is drawn from its own random numbers.

    Attributes:
        number: Number of the case, from 0.
        role: `lesion`; `healthy`, without any lesion; or `twin`, a case with lesions once more, without them.
        twin_of: Number of the case with lesions; None for other roles.
        load_mm3: Target lesion load, for a twin that of the other case; 0 for the healthy.
        real_masks: Whether the lesions come from real masks, if there are any, instead of being drawn.
        place: Position of the brain among all brains, in [0, 1).
        kind: Part of the head that the scan shows.
        free: Whether it lies in scanner space instead of MNI152 space.
        protocol: Index in `PROTOCOLS`.
        resolution: Kind of voxel size.
        contrast_medium: Whether the scan is contrast-enhanced; only with the kind `intracranial`.
        rendered: Whether the brain is rendered from its tissue maps.
        variants: Names of its rows of `VARIANTS`.
        shades: Names of its rows of `SHADES`.
    """

    number: int
    role: Role
    twin_of: int | None
    load_mm3: float
    real_masks: bool
    place: float
    kind: Kind
    free: bool
    protocol: int
    resolution: Resolution
    contrast_medium: bool
    rendered: bool
    variants: tuple[str, ...] = ()
    shades: tuple[str, ...] = ()

    def rng(self) -> np.random.Generator:
        """The random numbers of the case; twins share them."""
        return np.random.default_rng([FROZEN_SEED, self.number if self.twin_of is None else self.twin_of])


@cache
def plan_frozen() -> tuple[FrozenCase, ...]:
    """Plan all cases, identically on every machine; each property is dealt independently of the others."""
    roles = [CYCLE[number % len(CYCLE)] for number in range(FROZEN_CASES)]
    own: dict[int, FrozenCase] = {}
    for role in ("lesion", "healthy"):
        own |= _plan_people(role, [number for number, its in enumerate(roles) if its == role])
    own = _deal_variants(own)
    twins = {
        number: replace(own[number - 1], number=number, role="twin", twin_of=number - 1)
        for number, role in enumerate(roles)
        if role == "twin"
    }
    return tuple((own | twins)[number] for number in range(FROZEN_CASES))


def deal(options: Sequence[T], shares: Sequence[float], count: int, rng: np.random.Generator) -> list[T]:
    """Deal options among cases according to their shares, but each at least `FEWEST_DEALT` times if possible.

    Args:
        options: The options.
        shares: Share of each, with sum 1.
        count: Number of cases. The most frequent option absorbs rounding and minimum counts.
        rng: Source of the permutation.
    """
    least = min(FEWEST_DEALT, count // len(options))
    counts = [max(round(share * count), least) for share in shares]
    counts[int(np.argmax(shares))] += count - sum(counts)
    dealt = [option for option, number in zip(options, counts, strict=True) for _ in range(number)]
    return [dealt[index] for index in rng.permutation(count)]


def _plan_people(role: Role, numbers: Sequence[int]) -> dict[int, FrozenCase]:
    count = len(numbers)

    def dealt(use: str, options: Sequence[T], shares: Sequence[float]) -> list[T]:
        return deal(options, shares, count, _stream(f"{role}: {use}"))

    def share(use: str, probability: float) -> list[bool]:
        return dealt(use, (False, True), (1 - probability, probability))

    offset = float(_stream("load").random())
    places = (_stream(f"{role}: place").permutation(count) + 0.5) / max(count, 1)
    columns = zip(
        numbers,
        share("masks", 1 - PLACED_MIX.drawn),
        dealt("kind", KINDS, PLACED_MIX.kinds),
        share("free", PLACED_MIX.free),
        dealt("protocol", range(len(PROTOCOLS)), [protocol.share for protocol in PROTOCOLS]),
        dealt("resolution", tuple(RESOLUTIONS), tuple(RESOLUTIONS.values())),
        share("rendered", RENDERED),
        strict=True,
    )
    cases = {}
    for order, (number, masks, kind, free, protocol, resolution, rendered) in enumerate(columns):
        load_mm3 = atlas_load_mm3(spread_quantile(order, offset)) if role == "lesion" else 0.0
        who = (number, role, None, load_mm3, masks, float(places[order]))
        cases[number] = FrozenCase(*who, kind, free, protocol, resolution, contrast_medium=False, rendered=rendered)
    shown = [case.number for case in cases.values() if case.kind == "intracranial"]
    enhanced = _chosen(shown, CONTRAST_MEDIUM, f"{role}: contrast medium", 1)
    return cases | {number: replace(cases[number], contrast_medium=True) for number in enhanced}


def _deal_variants(cases: dict[int, FrozenCase]) -> dict[int, FrozenCase]:
    """Deal every variant independently, so that changing one row leaves the others as they are."""
    for row in VARIANTS:
        least = FEWEST_OF_VARIANT if row.largest_mm3 >= LARGE_MM3 else 0
        having = _chosen(list(cases), row.share(USUAL_AGE), row.name, least)
        cases |= {number: replace(cases[number], variants=(*cases[number].variants, row.name)) for number in having}
    for shade in SHADES:
        having = _chosen(list(cases), shade.probability, f"dim: {shade.name}", FEWEST_OF_VARIANT)
        cases |= {number: replace(cases[number], shades=(*cases[number].shades, shade.name)) for number in having}
    return cases


def _chosen(numbers: Sequence[int], share: float, use: str, least: int) -> list[int]:
    """Choose this share of the numbers, but at least `least` if possible."""
    count = min(max(round(share * len(numbers)), least), len(numbers))
    return [numbers[index] for index in sorted(_stream(use).permutation(len(numbers))[:count].tolist())]


def _stream(use: str) -> np.random.Generator:
    """Random numbers for one use."""
    return np.random.default_rng([FROZEN_SEED, zlib.crc32(use.encode())])


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
    dealt = replace(bank, mix=replace(bank.mix, drawn=0.0 if case.real_masks else 1.0))
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
    raise AssertionError("the plan asks for what is never drawn")


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
    """Ids of the cases that differ from the published ones or are unknown; mean intensities have a tolerance."""
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
