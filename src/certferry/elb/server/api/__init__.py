"""The ELB v3 REST API, one module per resource."""
