"""Resource definitions: names, validation, defaults, printer columns."""
