"""Checks and previews of what a form would change."""
