"""Rules across resources: certificate binding, locks, break-glass, addresses, findings."""
