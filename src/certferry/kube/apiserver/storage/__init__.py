"""Storage: the log, the watch cache, mutations and object lifecycle."""
