"""Server-side apply: managed fields and structured merge."""
