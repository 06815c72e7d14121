"""State behind the pages: sessions, cluster and ELB feeds, probes."""
