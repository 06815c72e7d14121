"""The ELB service: REST API, durable store, Envoy as data plane."""
