"""The state of each host, and what alerts, inventory and explanations derive from it."""
