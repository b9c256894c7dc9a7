"""Run a program as a challenge runs a container: no network, no rights, nothing to write but results and 16 MB of /tmp.

Made of namespaces, since a container engine is seldom at hand where tests run.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

MEMORY_BYTES = 16 * 2**30
ROOT = Path(__file__).resolve().parents[2]

# Within a user namespace of its own, where it may mount: /tmp becomes small and holds /tmp/case (read-only) and
# /tmp/output; all that was there before becomes read-only. Then a namespace in which it is nobody in particular.
SCRIPT = """
set -eu
stage=$1 case=$2 output=$3
shift 3
mount -t tmpfs -o size=16m,mode=1777 tmpfs "$stage"
mkdir "$stage/case" "$stage/output"
mount --bind "$case" "$stage/case"
mount -o remount,bind,ro "$stage/case"
mount --bind "$output" "$stage/output"
mount --rbind "$stage" /tmp
while read -r _ place _ options _; do
  case $place in
    /proc*|/sys*|/dev*|/tmp*) continue ;;
  esac
  kept=$(echo "$options" | tr ',' '\\n' | grep -E '^(nosuid|nodev|noexec|noatime|relatime|nodiratime)$' | tr '\\n' ',')
  mount -o "remount,bind,${kept}ro" "$place"
done < /proc/self/mounts
ip link set lo up
cd /tmp
exec unshare --user --map-user=1000 --map-group=1000 "$@"
"""


class Isolation:
    """A place for cases, `/tmp/case` within, and one for results, `/tmp/output` within."""

    def __init__(self, folder: Path) -> None:
        self.case, self.output, self._stage = folder / "case", folder / "output", folder / "stage"
        for made in (self.case, self.output, self._stage):
            made.mkdir()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command; output as text."""
        outer = ["unshare", "--user", "--map-root-user", "--mount", "--net", "sh", "-c", SCRIPT, "sh"]
        folders = map(str, (self._stage, self.case, self.output))
        clean = ["prlimit", f"--as={MEMORY_BYTES}", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp"]
        return subprocess.run(
            [*outer, *folders, *clean, *command], capture_output=True, text=True, timeout=250, check=False
        )

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run this Python, as the image sets it up."""
        return self.run("PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1", sys.executable, *arguments)


def require_isolation(folder: Path) -> Isolation:
    """An isolation that works, or skip the test and say what this system forbids."""
    for program in ("unshare", "prlimit", "mount", "ip"):
        if not shutil.which(program):
            pytest.skip(f"needs {program} to run a program as a container runs it")
    if any(Path("/tmp") in Path(place).resolve().parents for place in (ROOT, sys.prefix, sys.base_prefix)):
        pytest.skip("/tmp is replaced, and the project or its Python lies there")
    isolation = Isolation(folder)
    tried = isolation.run("true")
    if tried.returncode:
        pytest.skip(f"this system forbids the namespaces that stand for a container: {tried.stderr.strip()[:200]}")
    return isolation
