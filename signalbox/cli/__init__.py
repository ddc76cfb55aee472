"""The command line: `signalbox`, see `signalbox --help`."""

from signalbox.cli.main import main

__all__ = ["main"]
