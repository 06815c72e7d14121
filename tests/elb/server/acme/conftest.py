from __future__ import annotations

from tests.elb.support.ca import AVAILABLE
from tests.support.go_programs import REQUIRED

collect_ignore = [] if AVAILABLE or REQUIRED else ["test_pebble.py"]
"""Without Go and a built Pebble there is no CA."""
