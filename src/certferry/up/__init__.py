"""`certferry up`: starts, connects and supervises all programs of the embedded system as processes."""

from certferry.up.run import run

__all__ = ["run"]
