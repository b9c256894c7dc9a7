"""The programs and machines that computed a run: recorded beside each member, and for each stage."""

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mapping_stroke.environment import describe_environment
from mapping_stroke.files import fingerprint, list_files, read_object, write_json
from mapping_stroke.networks.member_folder import CARD_FILE
from mapping_stroke.run_folder import STAGES, RunFolder

ENVIRONMENTS = "environments"
"""Folder of a member's records."""
TRAIN = "train"


def recorder(folder: Path, facts: Mapping[str, object] | None = None, *, gpu: bool = False) -> Callable[[], None]:
    """A function that records the environment of this process at its first call: when something is computed.

    Args:
        folder: Folder of the records, a file for each different one: several jobs may write at the same time.
        facts: More that the environment has, such as the device.
        gpu: Also name the GPUs, for work that may use them.
    """

    def record() -> None:
        found = {**describe_environment(gpu=gpu), **(facts or {})}
        write_json(folder / f"{fingerprint(found)}.json", found)

    return cache(record)


def describe_environments(run: RunFolder, name: str, words_of: Callable[[Mapping[str, Any]], str]) -> dict[str, str]:
    """A part of the environments in which a run was computed, as names and values.

    Args:
        run: The run. Of runs of earlier versions, only the environment of the training that started last is known.
        name: Name of the part.
        words_of: Puts the part of an environment into words; empty if it is unknown.

    Returns:
        One value if all environments agree; otherwise each, with the stages, numbered. Empty if nothing is known.
    """
    used = _used(run)
    known = [one for its in used.values() for one in its]
    places: dict[str, list[str]] = {}
    for place, its in used.items():
        for one in its:
            places.setdefault(words_of(_with_gpu(one, known)), []).append(place)
    places.pop("", None)
    if len(places) <= 1:
        return dict.fromkeys([name], *places) if places else {}
    members = sum(place.startswith(f"{TRAIN}/") for place in used)
    return {
        f"{name} {number} of {len(places)}": f"{words} ({_place_words(its, members)})"
        for number, (words, its) in enumerate(places.items(), start=1)
    }


def _used(run: RunFolder) -> dict[str, list[dict[str, Any]]]:
    """The recorded environments, by stage or `train/<scheme>/fold_<k>`, in the order of the stages."""
    used: dict[str, list[dict[str, Any]]] = {}
    for stage in STAGES:
        if stage == TRAIN:
            members = sorted(card.parent for card in run.members.glob(f"*/fold_*/{CARD_FILE}"))
            used |= {f"{TRAIN}/{member.relative_to(run.members)}": _read(member / ENVIRONMENTS) for member in members}
            if not members or not all(used[f"{TRAIN}/{member.relative_to(run.members)}"] for member in members):
                used[f"{TRAIN}, last start"] = [read_object(run.environment_json)]
        else:
            used[stage] = _read(run.environments(stage))
    return used


def _read(folder: Path) -> list[dict[str, Any]]:
    return [found for path in list_files(folder, "*.json") if (found := read_object(path))]


def _with_gpu(environment: Mapping[str, Any], known: list[dict[str, Any]]) -> Mapping[str, Any]:
    """The environment with the GPUs of its machine, if it did not look for them and another record of it did."""
    if "gpu" in environment:
        return environment
    machine = ("system", "processor", "cores", "memory")
    alike = (one for one in known if "gpu" in one and all(one.get(key) == environment.get(key) for key in machine))
    other = next(alike, None)
    return environment if other is None else {**environment, "gpu": other["gpu"]}


def _place_words(places: list[str], members: int) -> str:
    """Stages, with the number of members if not all were trained there."""
    trained = sum(place.startswith(f"{TRAIN}/") for place in places)
    count = TRAIN if trained == members else f"{TRAIN}: {trained} of {members} members"
    words = dict.fromkeys(count if place.startswith(f"{TRAIN}/") else place for place in places)
    return ", ".join(words)
