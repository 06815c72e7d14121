"""One module per resource of the ELB v3 API."""
