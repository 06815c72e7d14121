"""Pages of hosts, and the parts that all detail pages share."""
