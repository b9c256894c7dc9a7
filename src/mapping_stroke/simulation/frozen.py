"""The frozen hold-out: 160 planned cases, made as files and compared with the pinned table."""

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
from mapping_stroke.simulation.variants import SHADES, VARIANTS, make_variants

Role = Literal["lesion", "healthy", "twin"]
Resolution = Literal["fine", "2 mm", "thick slices"]
T = TypeVar("T")

FROZEN_CASES = 160
FROZEN_SEED = 6
CYCLE: tuple[Role, ...] = ("lesion", "lesion", "healthy", "lesion", "lesion", "twin")
"""Who comes after whom: two thirds have lesions, and half of the others are healthy twins of the case before them."""
RESOLUTIONS: dict[Resolution, float] = {"fine": 0.76, "2 mm": 0.10, "thick slices": 0.14}
"""Shares of the cases by their voxels, about those of `draw_any_scanner`."""
FEWEST_DEALT, FEWEST_OF_VARIANT = 2, 4
"""Every choice is in so many cases with lesions and of the healthy at least, every large variant in so many of both."""
LARGE_MM3 = 2_000.0
"""Variants that can become so large are large."""
USUAL_AGE = 0.65
"""Age for which the shares of variants are taken: about the mean of all cases."""


@dataclass(frozen=True)
class FrozenCase:
    """A case of the frozen hold-out; all that the plan leaves open is drawn from its own random numbers.

    Attributes:
        number: Its number, from 0.
        role: `lesion`; `healthy`, who never had one; or `twin`, the same person as a case with lesions, without them.
        twin_of: Number of that case; None for others.
        load_mm3: The load that is asked for, of a twin that of the other; 0 for the healthy.
        real_masks: Whether the lesions are of real masks rather than drawn, where there are masks.
        place: Which of the brains, in [0, 1).
        kind: What the scan shows of the head.
        free: Whether it lies in a space of its own rather than in MNI152 space.
        protocol: Row of `PROTOCOLS`.
        resolution: Of its voxels.
        contrast_medium: Whether it was given; only ever with the kind `intracranial`.
        rendered: Whether the brain is rendered from its tissue maps.
        variants: Names of the rows of `VARIANTS` that it has.
        shades: Likewise of `SHADES`.
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
        """The random numbers of the case; twins have the same."""
        return np.random.default_rng([FROZEN_SEED, self.number if self.twin_of is None else self.twin_of])


@cache
def plan_frozen() -> tuple[FrozenCase, ...]:
    """All cases. What each dealing decides is independent of the others; the same everywhere."""
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
    """Deal options among so many cases, each as often as its share says, but `FEWEST_DEALT` times at least if possible.

    Args:
        options: What is dealt.
        shares: How much of each; their sum is 1.
        count: Cases, 0 or more. Those that are rounded or lifted are made up for by the most frequent option.
        rng: Decides who gets what.
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
    """Every row among cases of its own, whatever the other rows are: one that changes moves no other."""
    for row in VARIANTS:
        least = FEWEST_OF_VARIANT if row.largest_mm3 >= LARGE_MM3 else 0
        having = _chosen(list(cases), row.share(USUAL_AGE), row.name, least)
        cases |= {number: replace(cases[number], variants=(*cases[number].variants, row.name)) for number in having}
    for shade in SHADES:
        having = _chosen(list(cases), shade.probability, f"dim: {shade.name}", FEWEST_OF_VARIANT)
        cases |= {number: replace(cases[number], shades=(*cases[number].shades, shade.name)) for number in having}
    return cases


def _chosen(numbers: Sequence[int], share: float, use: str, least: int) -> list[int]:
    """This share of the numbers, but so many at least if there are."""
    count = min(max(round(share * len(numbers)), least), len(numbers))
    return [numbers[index] for index in sorted(_stream(use).permutation(len(numbers))[:count].tolist())]


def _stream(use: str) -> np.random.Generator:
    """Random numbers of one use."""
    return np.random.default_rng([FROZEN_SEED, zlib.crc32(use.encode())])


TRIES = 10_000
"""What is not drawn in so many tries cannot be drawn."""


def make_frozen(bank: SimulationBank, case: FrozenCase) -> CaseArrays:
    """Make a case of the plan.

    Args:
        bank: Brains and masks; its mix and scanner count for nothing here.
        case: The case. A twin has the voxels of the case whose twin it is, without the lesions.
    """
    rng = case.rng()
    draft = draft_frozen(bank, case, rng)
    return make_case(bank, draft.twin if case.role == "twin" else draft, rng)


def draft_frozen(bank: SimulationBank, case: FrozenCase, rng: np.random.Generator) -> Draft:
    """Draw what the plan leaves open: each part anew until it is what the plan says."""
    host = bank.hosts[int(case.place * len(bank.hosts))]
    dealt = replace(bank, mix=replace(bank.mix, drawn=0.0 if case.real_masks else 1.0))
    lesions = place_lesions(dealt, host, case.load_mm3, rng)
    return Draft(f"frozen-{case.number:03d}", host, lesions, _draw_look(case, rng))


def resolution_of(scanner: Scanner) -> Resolution:
    """What the voxels of a drawn scanner are called in the plan."""
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
    """Draw until it fits: what is drawn is as it would be by chance, given that it fits."""
    for _ in range(TRIES):
        drawn = draw()
        if fits(drawn):
            return drawn
    raise AssertionError("the plan asks for what is never drawn")


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
