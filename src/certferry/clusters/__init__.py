"""The clusters of a settings file, and how to enter each and its ELB.

The controller, the console and the command line share it. It knows nothing of what is done there.
"""

from certferry.fleet.access import ClusterAccess
from certferry.fleet.everywhere import Answer, gather
from certferry.fleet.file import Fleet, locate, one, read

__all__ = ["Answer", "ClusterAccess", "Fleet", "gather", "locate", "one", "read"]
