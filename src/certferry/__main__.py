"""``python -m certferry``: how `up` starts the other programs."""

from certferry.cli import main

main()
