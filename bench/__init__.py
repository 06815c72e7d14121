"""How fast a rotation is, end to end, beside the least that it can take. `python -m bench` runs it."""
