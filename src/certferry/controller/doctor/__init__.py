"""Looking for what would keep a controller from working, before it does: `certferry doctor`."""

from certferry.controller.doctor.examine import examine
from certferry.controller.doctor.verdict import Verdict

__all__ = ["Verdict", "examine"]
