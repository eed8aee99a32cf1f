"""The command `natsim`.  One module for each subcommand; this is the only part of natsim that knows punchkit."""

from natsim.cli.main import main

__all__ = ["main"]
