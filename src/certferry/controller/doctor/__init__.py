"""Looking for what would keep a controller from working, before it does: `certferry doctor`."""

from certferry.controller.doctor.result import Verdict
from certferry.controller.doctor.run import examine

__all__ = ["Verdict", "examine"]
