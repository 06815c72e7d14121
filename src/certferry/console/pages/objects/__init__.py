"""Pages for any object: YAML, diff, delete, lists."""
