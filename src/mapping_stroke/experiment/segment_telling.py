"""What `mapping segment` says before, while and after it segments."""

from collections.abc import Sequence
from pathlib import Path

from mapping_stroke.console import counted, duration, say, warn
from mapping_stroke.environment import peak_memory_bytes
from mapping_stroke.experiment.segment_reading import LoadedScan
from mapping_stroke.experiment.segment_record import RunRecord
from mapping_stroke.experiment.segment_settings import Method
from mapping_stroke.inference.ensemble import Ensemble
from mapping_stroke.inference.speed import estimate_seconds, measure_flop_per_s
from mapping_stroke.run_folder import OWNER_FILE

LONG_FLOP = 1e12
"""From here on the time is foretold; less takes seconds everywhere."""
NAMED = 10
"""Of more scans that others have in hand, the rest is counted."""


def tell_start(todo: int, scans: int, method: Method) -> None:
    """Say how many scans are segmented, and how."""
    finished = scans - todo
    if finished:
        say(f"{counted(finished, 'scan')} of {scans} {'is' if finished == 1 else 'are'} finished already")
    if todo:
        ensemble, config = method.ensemble, method.config
        used = f"{len(ensemble.members)} of {counted(len(method.bundle.card.members), 'member')}"
        mirrored = tell_mirrorings(ensemble)
        how = f"preset {config.preset}, rule {config.rule}" + (f", {mirrored} each" if mirrored else "")
        say(f"Segmenting {counted(todo, 'scan')} with {used} ({how}) on {ensemble.engine.description}")


def tell_mirrorings(ensemble: Ensemble) -> str:
    """Over how many mirrorings of each patch the members average, as `8 mirrorings`; empty where none mirrors."""
    fewest, most = ensemble.mirrorings
    return f"{'up to ' if fewest < most else ''}{most} mirrorings" if most > 1 else ""


def tell_time(ensemble: Ensemble, loaded: LoadedScan, todo: int) -> None:
    """Say how long the work will take on this machine, where that is worth a word."""
    if ensemble.flop(loaded.prepared) < LONG_FLOP:
        return
    flop_per_s = measure_flop_per_s(ensemble.engine)
    seconds = sum(loaded.seconds.values()) + estimate_seconds(ensemble, loaded.prepared, flop_per_s)
    in_all = f" a scan, {duration(todo * seconds)} in all" if todo > 1 else ""
    say(f"This takes about {duration(seconds)}{in_all}")


def tell_end(output: Path, record: RunRecord, todo: Sequence[str], failed: Sequence[str], left: Sequence[str]) -> None:
    """Say what became of the scans that were to be done: how many this process did, which failed, which others have."""
    done, took = record.computed, record.seconds
    each = f" ({duration(took / done)} each)" if done > 1 else ""
    say(f"{counted(done, 'scan')} in {duration(took)}{each}, with at most {peak_memory_bytes() / 1e9:.1f} GB of memory")
    others = len(todo) - done - len(failed) - len(left)
    if others > 0:
        say(f"{counted(others, 'scan')} {'was' if others == 1 else 'were'} done by other processes meanwhile")
    if left:
        named = ", ".join(left[:NAMED]) + (f" and {len(left) - NAMED} more" if len(left) > NAMED else "")
        say(f"Other processes have {counted(len(left), 'scan')} in hand ({named}); the same command tells what became")
    if failed:
        warn(
            f"{len(failed)} of {counted(len(todo), 'scan')} failed: {', '.join(failed)}; {output / OWNER_FILE} says why"
        )
