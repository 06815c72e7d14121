"""Pages for Ingresses: list, create, update, synchronize."""
