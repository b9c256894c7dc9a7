"""`mapping info`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Info:
    """Show versions, devices and where this installation lies, for bug reports."""

    def run(self) -> int:
        """Print one line per fact."""
        from mapping_stroke.console import say
        from mapping_stroke.environment import describe_environment

        for name, value in describe_environment().items():
            say(f"{name}: {value}")
        return 0
