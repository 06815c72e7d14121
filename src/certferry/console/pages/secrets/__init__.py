"""Pages for Secrets: list, create, update."""
