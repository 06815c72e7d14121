"""Services: the claims of those of type LoadBalancer, and their annotations."""
