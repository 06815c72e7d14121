"""Looking for what would keep a controller from working, before it does: `certferry doctor`."""

from certferry.controller.doctor.result import CheckResult
from certferry.controller.doctor.run import run_checks

__all__ = ["CheckResult", "run_checks"]
