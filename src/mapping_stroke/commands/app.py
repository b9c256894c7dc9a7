"""The command for people who do not live on a command line: `mapping app`."""

from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import Positional

from mapping_stroke.cohort.settings import NO_REGIONS, Computation, RegionOptions


@dataclass(frozen=True)
class App:
    """Segment, look at, rate and correct scans in a browser; nothing leaves this machine."""

    folder: Positional[Path] = Path("mapping-results")
    """Results folder of `mapping segment` or `mapping bids`; a new one is made. Scans dropped on the page are copied
    into a folder beside it, FOLDER-uploads."""
    port: int = 8765
    """Port on 127.0.0.1; another one is taken if it is in use, any free one for 0."""
    no_browser: bool = False
    """Only print the address."""
    show_head: bool = False
    """Show the whole head on the pages of scans that are dropped, face included."""
    computation: Computation = field(default_factory=Computation)
    regions: RegionOptions = NO_REGIONS

    def run(self) -> int:
        """Serve until interrupted by Ctrl+C."""
        from mapping_stroke.app.server import AppSettings, serve

        settings = AppSettings(
            self.folder,
            self.port,
            self.computation,
            self.regions,
            show_head=self.show_head,
            open_browser=not self.no_browser,
        )
        serve(settings)
        return 0
