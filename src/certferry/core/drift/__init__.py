"""Detection of changes that another client made on the load balancer."""
