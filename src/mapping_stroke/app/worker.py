"""A process of its own for one upload, so that the app stays small and a crash there does not end it.

    python -m mapping_stroke.app.worker REQUEST

REQUEST is a JSON object: `scan`, `output`, `computation` and `regions` (settings of `mapping segment`), `show_head`.
"""

import json
import sys
from pathlib import Path

from mapping_stroke import console
from mapping_stroke.cohort.loop import segment_scans
from mapping_stroke.cohort.settings import Computation, RegionOptions, ScanOptions
from mapping_stroke.errors import SCAN_FAILURES, describe_failure

SECONDS_BETWEEN_LINES = 0.5


def main(request: str) -> int:
    """Segment one scan and print the progress as lines; an error is one line on standard error, with status 2."""
    given = json.loads(request)
    try:
        paths = {name: path and Path(path) for name, path in given["regions"].items()}
        options = ScanOptions(show_head=bool(given["show_head"]), regions=RegionOptions(**paths))
        segment_scans([Path(given["scan"])], Path(given["output"]), Computation(**given["computation"]), options)
    except SCAN_FAILURES as error:
        print(describe_failure(error), file=sys.stderr)  # noqa: T201 - for the app that started this process
        return 2
    return 0


if __name__ == "__main__":
    console.SECONDS_BETWEEN_LINES = SECONDS_BETWEEN_LINES
    sys.exit(main(sys.argv[1]))
