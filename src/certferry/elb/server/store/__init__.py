"""The durable store: tables, database file, and the snapshot in memory."""
