"""Everything at once: the composition root of the embedded system.

`certferry up` calls ``run``; nothing else constructs everything. The parts are processes of their
own, and this package knows only how to start them, what each needs to know of the others, and
when all are ready.
"""

from certferry.up.run import run

__all__ = ["run"]
