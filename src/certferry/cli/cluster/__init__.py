"""Commands that inspect a cluster and its load balancers."""
