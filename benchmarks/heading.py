"""Heading of every report: title, date, machine, versions and command."""

import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version

from mapping_stroke.environment import describe_environment


def describe_head(
    title: str, command: str, packages: Sequence[str], *, device: str = "cpu", share: str = "", others: str = ""
) -> list[str]:
    """The first lines of a report in Markdown, the last of them empty.

    Args:
        title: Title of the report.
        command: Command that repeats the measurement, without the paths of this machine.
        packages: Packages whose versions matter, besides ours.
        device: Device in use; the GPU is named if it is `cuda`, since Apple's is part of the processor.
        share: Share of the cores, such as `1 of `; empty for all of them.
        others: Versions of other programs.
    """
    machine = describe_environment()
    where = (
        f"{machine['processor']}, {share}{machine['cores']} cores" if not device.startswith("cuda") else machine["gpu"]
    )
    versions = ", ".join(f"{package} {version(package)}" for package in ("mapping-stroke", *packages))
    system = f"{platform.system()}, Python {platform.python_version()}"
    return [
        f"# {title}",
        "",
        f"{date.today().isoformat()}, {where}, {system}, {versions}{f'; {others}' if others else ''}.",
        f"Command: `{command}`.",
        "",
    ]
