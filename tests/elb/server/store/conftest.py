from __future__ import annotations

import resource

# Taking room from a running process needs prlimit, which Linux alone has.
collect_ignore = [] if hasattr(resource, "prlimit") else ["test_full_disk.py"]
