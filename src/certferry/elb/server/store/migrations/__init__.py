"""The history of the ELB store's schema, for Alembic. Part of the wheel."""
