"""The stage `postprocess`: a rule turns the probability maps of every method into masks, each map once."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from mapping_stroke.console import name_files, warn
from mapping_stroke.dataset.voxels import find_volumes, voxel_rule_words
from mapping_stroke.errors import SCAN_FAILURES, CaseError, RunFolderError
from mapping_stroke.files import list_files, read_object, sha256, write_json
from mapping_stroke.images.image import read_image, write_image
from mapping_stroke.rules import check_probability, find_rule, mark_lesions
from mapping_stroke.run_folder import ENSEMBLE, FINAL, MASK_SUFFIX, PROBABILITY_SUFFIX, RunFolder, write_section
from mapping_stroke.stages.environments import recorder
from mapping_stroke.work import StageResult, for_each_case

SETTINGS_FILE = "settings.json"
"""In a folder of masks: the rule, and the SHA-256 of the map of each mask."""
CONTENTS = (SETTINGS_FILE, f"*{MASK_SUFFIX}")
"""Files that `postprocess_folder` writes."""


def postprocess_run(run: RunFolder, rule: str = "challenge") -> StageResult:
    """Write the masks of every method that has probability maps.

    The schemes and the `ensemble` get P > 0.5 (rule `none`); `ensemble-pp` gets `rule`, from the ensemble's maps.

    Args:
        run: A run in which `mapping predict` has finished.
        rule: Rule of `ensemble-pp`, see `mapping_stroke.rules.RULES`.

    Returns:
        The folder of the masks; failures are named `method/case`.

    Raises:
        ConfigError: Unknown rule.
        RunFolderError: There are no probability maps.
    """
    settings = asdict(find_rule(rule))
    predictions = run.require(run.probabilities(ENSEMBLE).parent, "predict")
    methods = sorted(folder.name for folder in predictions.iterdir() if list_files(folder, f"*{PROBABILITY_SUFFIX}"))
    if not methods:
        raise RunFolderError(f"{predictions}: holds no probability map; run `mapping predict {run.path}` first")
    write_section(run.config_toml, "postprocess", {"rule": rule, **settings})
    jobs = [(method, method, "none") for method in methods]
    if ENSEMBLE in methods:
        jobs.append((FINAL, ENSEMBLE, rule))
    failed: dict[str, str] = {}
    computed = recorder(run.environments("postprocess"))
    for method, source, job_rule in jobs:
        of_method = postprocess_folder(run.probabilities(source), run.masks(method), job_rule, computed).failed
        failed |= {f"{method}/{case_id}": why for case_id, why in of_method.items()}
    masks = run.masks(ENSEMBLE).parent
    name_files("Masks", masks)
    return StageResult((masks,), failed)


def postprocess_folder(
    probabilities: Path, masks: Path, rule: str = "challenge", computed: Callable[[], None] = lambda: None
) -> StageResult:
    """Write `<case>_mask.nii.gz` for every `<case>_probability.nii.gz` of a folder.

    A mask that was made from the same map by the same rule is kept; a mask whose map is gone is removed. A map that
    cannot be used is reported and skipped, unless it is the only one. If the rule counts voxels, and those of the maps
    are not about 1 mm3, one warning says so.

    Args:
        probabilities: Folder of maps.
        masks: Folder of masks; made if it is missing.
        rule: Name of a rule.
        computed: Called before a mask is made.

    Returns:
        The folder of the masks; failures are named by case id.

    Raises:
        CaseError: There is no map, or only one, and it cannot be used.
        ConfigError: Unknown rule.
    """
    settings = {"rule": rule, **asdict(find_rule(rule))}
    sources = find_maps(probabilities)
    ledger = masks / SETTINGS_FILE
    before = read_object(ledger)
    made_before = dict(before.get("made_from", {}))
    for case_id in made_before.keys() - sources.keys():
        (masks / f"{case_id}{MASK_SUFFIX}").unlink(missing_ok=True)
        del made_before[case_id]
    made_from = made_before if before.get("settings") == settings else {}
    write_json(ledger, {"settings": settings, "made_from": made_from})
    volumes_mm3: list[float] = []

    def make(case_id: str) -> None:
        source, mask = sources[case_id], masks / f"{case_id}{MASK_SUFFIX}"
        try:
            source_sha256 = sha256(source)
            if mask.is_file() and made_from.get(case_id) == source_sha256:
                return
            if made_from.pop(case_id, None):  # written before the mask changes: an interruption leaves no false entry
                write_json(ledger, {"settings": settings, "made_from": made_from})
            computed()
            volumes_mm3.append(_postprocess_file(source, mask, rule))
        except SCAN_FAILURES:
            with suppress(OSError):  # the reason that there is no mask is more useful
                mask.unlink(missing_ok=True)
            raise
        made_from[case_id] = source_sha256
        write_json(ledger, {"settings": settings, "made_from": made_from})

    cases = {case_id: case_id for case_id in sources}
    failed = for_each_case(cases, f"Post-processing {masks.name}", lambda case_id, _: make(case_id), sources.get)
    if words := voxel_rule_words(find_rule(rule), find_volumes(volumes_mm3)):
        warn(f"rule {rule}: {words}; `--rule mapping` has its limits in mm3")
    return StageResult((masks,), failed)


def find_maps(folder: Path) -> dict[str, Path]:
    """Case id -> map, for every map in a folder; raises `CaseError` for none."""
    maps = {path.name.removesuffix(PROBABILITY_SUFFIX): path for path in list_files(folder, f"*{PROBABILITY_SUFFIX}")}
    if not maps:
        raise CaseError(f"{folder}: holds no <case>{PROBABILITY_SUFFIX}; name a folder that `mapping predict` wrote")
    return maps


def _postprocess_file(source: Path, mask: Path, rule: str) -> float:
    """Make a mask; returns the volume of a voxel in mm3."""
    image = read_image(source)
    probability = replace(image, voxels=check_probability(image.voxels))
    write_image(mask, mark_lesions(probability, find_rule(rule)), image)
    return image.voxel_volume_mm3
