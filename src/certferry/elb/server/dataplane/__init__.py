"""The ELB's data plane: from stored resources to an Envoy that serves them."""
