"""The Kubernetes client: informers, cache, leader election."""
