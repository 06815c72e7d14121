"""The controller: gather, decide (core), act; until the load balancer is what the cluster asks for."""
