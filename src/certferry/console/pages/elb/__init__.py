"""Pages for load balancers, listeners and ELB certificates."""
