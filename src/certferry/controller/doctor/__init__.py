"""`certferry doctor`: checks of permissions, versions, clocks, quotas and rival controllers."""
