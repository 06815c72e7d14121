"""Proof that clients see the right certificate, and rollback if they do not."""
