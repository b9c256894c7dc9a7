"""Segmented scans on their way out: written by a thread while the next one is computed."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from mapping_stroke.experiment.segment_files import ScanFiles
from mapping_stroke.experiment.segment_reading import LoadedScan
from mapping_stroke.inference.segmentation import Segmentation

Stamp = dict[str, Any]
STEPS = ("read", "place", "prepare", "predict", "postprocess", "write")
"""Of which a stamp tells the seconds."""


WriteMore = Callable[[ScanFiles, LoadedScan, Segmentation], Stamp]
"""Writes further files of a scan, and returns what its stamp should tell of them: under `files` their paths."""

TakeStamp = Callable[[str, Callable[[], Stamp]], None]
"""Is given a scan's name, and what returns its stamp, or raises why there is none."""


def write_scan(files: ScanFiles, loaded: LoadedScan, found: Segmentation, write_more: WriteMore | None = None) -> Stamp:
    """Write all files of one scan, the stamp last, and return that."""
    start = time.perf_counter()
    files.write(loaded.seen, found)
    files.write_as_dicom(loaded.series, found.mask)
    more = write_more(files, loaded, found) if write_more else {}
    seconds = {**found.seconds, **loaded.seconds, "write": time.perf_counter() - start}
    placed, registered = loaded.seen.placed, loaded.seen.registered
    stamp = {
        "source": dict(loaded.source),
        "lesions": len(found.lesions),
        "load_ml": round(sum(lesion.volume_ml for lesion in found.lesions), 3),
        "largest_probability": round(float(found.probability.max()), 4),
        "brain": placed.brain.to_json(placed.scan) if placed else None,
        "registration": registered.to_json() if registered else None,
        "warnings": list(loaded.warnings),
        "seconds": {step: round(seconds[step], 2) for step in STEPS},
        **more,
    }
    files.write_stamp(stamp)
    return stamp


@contextmanager
def write_behind(note: TakeStamp) -> Iterator[TakeStamp]:
    """Yield what has a scan written by a thread, one at a time.

    With the next scan, or at the end, `note` is given its stamp, or what writing it raised.
    """
    pending: list[tuple[str, Future[Stamp]]] = []

    def settle() -> None:
        while pending:
            name, written = pending.pop()
            note(name, written.result)

    with ThreadPoolExecutor(1, "writer") as writer:

        def write(name: str, work: Callable[[], Stamp]) -> None:
            settle()
            pending.append((name, writer.submit(work)))

        try:
            yield write
        finally:
            settle()
