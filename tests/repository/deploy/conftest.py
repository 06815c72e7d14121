"""Tests that need Go programs are collected if those are there."""

from __future__ import annotations

from tests.support.go_programs import HELM, REQUIRED

collect_ignore = [] if HELM or REQUIRED else ["test_chart.py", "test_release.py"]
