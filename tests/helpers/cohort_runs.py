"""A cohort with broken scans, segmented by processes that are killed, started again, and run side by side.

    python tests/helpers/cohort_runs.py WORK [SCANS] [RESULT]

Segments SCANS (200) simulated scans, 10 of them broken, in four ways, and writes as Markdown to RESULT whether the
files are the same, byte for byte. Each way has its folder in WORK.
"""

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from benchmarks.heading import describe_head
from mapping_stroke.cohort.results import FlatLayout
from mapping_stroke.images.image import write_image
from phantoms import AFFINE, SHAPE, phantom
from small_models import write_seeing_model

BROKEN: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "a text": lambda path: path.write_text("this is no image\n"),
    "a text, packed": lambda path: path.write_bytes(gzip.compress(b"this is no image\n" * 100)),
    "a header alone": lambda path: path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:352])),
    "of two axes": lambda path: save(path, np.ones(SHAPE[:2], np.float32)),
    "a series": lambda path: save(path, np.ones((*SHAPE, 5), np.float32)),
    "all zero": lambda path: save(path, np.zeros(SHAPE, np.float32)),
    "not a number": lambda path: save(path, np.full(SHAPE, np.nan, np.float32)),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}
"""What becomes of a good scan."""


def save(path: Path, voxels: np.ndarray) -> None:
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)


def write_cohort(folder: Path, scans: int) -> Path:
    """Scans of which some are broken, each in another manner."""
    broken = dict(zip(np.linspace(1, scans - 2, len(BROKEN)).astype(int).tolist(), BROKEN.values(), strict=True))
    for number in range(scans):
        path = folder / f"s{number:03d}_T1w.nii.gz"
        write_image(path, phantom(number)[0], AFFINE)
        if number in broken:
            broken[number](path)
    return folder


@dataclass(frozen=True)
class Way:
    """How a cohort is segmented: by so many processes at once, one killed whenever such a share of scans is done."""

    name: str
    processes: int = 1
    kills: tuple[float, ...] = ()


WAYS = (
    Way("undisturbed"),
    Way("killed and started again, twice", kills=(0.3, 0.65)),
    Way("two processes at once", 2),
    Way("two processes at once, each killed and started again", 2, (0.3, 0.65)),
)


def segment_so(way: Way, scans: Path, model: Path, out: Path) -> list[str]:
    """Segment a cohort in that way; what the processes that ended by themselves printed."""
    count = len(list(scans.iterdir()))
    command = [sys.executable, "-m", "mapping_stroke.cli", "segment", str(scans), "-o", str(out)]
    command += ["--model", str(model), "--device", "cpu", "--no-picture"]
    begin = lambda: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: E731
    running = [begin() for _ in range(way.processes)]
    for number, share in enumerate(way.kills):
        wait_for(out, share * count)
        with running.pop(0) as victim:
            assert victim.poll() is None, f"nothing is left to kill: {victim.communicate()[0]}"
            os.kill(victim.pid, signal.SIGKILL)
        assert victim.returncode == -signal.SIGKILL, number
        running.append(begin())
    said = [process.communicate()[0] for process in running]
    assert {process.returncode for process in running} == {3}, said
    return said


def wait_for(out: Path, stamps: float) -> None:
    """Until so many scans are finished."""
    while len(list(out.glob("s*_T1w.json"))) < stamps:
        time.sleep(0.02)


def results(out: Path) -> dict[str, str]:
    """The hash of every mask, map and table, by name."""
    files = [path for path in out.iterdir() if path.suffix in (".gz", ".tsv")]
    return {path.name: sha256(path.read_bytes()).hexdigest() for path in files}


def told(out: Path) -> dict[str, Any]:
    """What run.json and the stamps say, without times, paths of this machine, and machines."""
    record = json.loads((out / "run.json").read_text())["record"]
    scans = {}
    for name, entry in record["scans"].items():
        kept = {key: value for key, value in entry.items() if key not in ("seconds", "when")}
        stamp = out / f"{name}.json"
        if stamp.exists():
            kept["stamp"] = {key: value for key, value in json.loads(stamp.read_text()).items() if key != "seconds"}
        scans[name] = kept
    return {**{key: record[key] for key in ("status", "done", "failed", "skipped", "members")}, "scans": scans}


def computed(said: Sequence[str]) -> int:
    """How many scans the processes say they have segmented."""
    return sum(int(number) for text in said for number in re.findall(r"^(\d+) scans? in ", text, re.MULTILINE))


@dataclass(frozen=True)
class Outcome:
    """What one way led to."""

    way: Way
    files: int
    same: bool
    told_same: bool
    by_survivors: int
    seconds: float
    leftovers: tuple[str, ...]


def compare_ways(work: Path, scans: int, ways: Sequence[Way] = WAYS) -> list[Outcome]:
    """Segment a cohort in several ways, and compare each with the first."""
    cohort = write_cohort(work / "scans", scans)
    model = write_seeing_model(work / "seeing.mapping").path
    outcomes: list[Outcome] = []
    for number, way in enumerate(ways):
        start, out = time.perf_counter(), work / f"out{number}"
        said = segment_so(way, cohort, model, out)
        seconds = time.perf_counter() - start
        first = work / "out0"
        known = {
            "run.json",
            ".mapping",
            *FlatLayout.group.all,
            *results(out),
            *(f"{name}.json" for name in told(out)["scans"]),
        }
        left = [path.name for path in out.iterdir() if path.name not in known]
        left += [path.name for path in (out / ".mapping").iterdir() if not path.name.endswith(".failed.json")]
        same, told_same = results(out) == results(first), told(out) == told(first)
        outcomes.append(Outcome(way, len(results(out)), same, told_same, computed(said), seconds, tuple(left)))
    return outcomes


ABOUT = """{scans} simulated scans of {shape} voxels, {broken} of them broken; a model of two tiny networks that find
the lesions; no pictures. Killed: SIGKILL when 30 % and when 65 % of the scans were done. Undisturbed: {done} done,
{failed} failed, status 3. Other work shared the machine: the seconds say nothing of its speed.

| way | masks, maps, tables | the undisturbed ones, byte for byte | run.json and stamps equal, but for times | scans \
segmented by the processes that were not killed | left behind | s |
|---|---|---|---|---|---|---|
"""
BELOW = """
Two processes that nobody kills segment as many scans together as one alone: none twice.

| broken scan | what run.json says |
|---|---|
"""


def describe(outcomes: Sequence[Outcome], work: Path, scans: int, command: str) -> str:
    """The result as Markdown."""
    record = told(work / "out0")
    said = {name: entry["error"] for name, entry in record["scans"].items() if entry["status"] == "failed"}
    yes = {True: "yes", False: "**no**"}
    rows = [
        f"| {one.way.name} | {one.files} | {yes[one.same]} | {yes[one.told_same]} | {one.by_survivors} | "
        f"{', '.join(one.leftovers) or 'nothing'} | {one.seconds:.0f} |\n"
        for one in outcomes
    ]
    reasons = [f"| {kind} | {said[name]} |\n" for kind, name in zip(BROKEN, sorted(said), strict=True)]
    head = "\n".join(describe_head("A cohort with broken scans, killed and shared", command, ("torch", "openvino")))
    counts = {"scans": scans, "shape": "x".join(map(str, SHAPE)), "broken": len(BROKEN)}
    about = ABOUT.format(**counts, done=record["done"], failed=record["failed"])
    return "".join([head, "\n", about, *rows, BELOW, *reasons])


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    amount = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    found = compare_ways(folder, amount)
    text = describe(found, folder, amount, f"python tests/helpers/cohort_runs.py WORK {amount} RESULT")
    if len(sys.argv) > 3:
        Path(sys.argv[3]).write_text(text, encoding="utf-8")
    sys.stdout.write(text)
