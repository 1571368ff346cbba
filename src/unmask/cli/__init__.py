"""The command line."""

from unmask.cli.main import main

__all__ = ["main"]
