"""PEM, chains, expiry, and comparison of presented chains."""
