"""Reconcile inputs, fast paths and the writes to the load balancer."""
