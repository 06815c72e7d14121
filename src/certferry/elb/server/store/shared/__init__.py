"""A database that several ELBs share: PostgreSQL, the order of commits, the ELBs that run."""
