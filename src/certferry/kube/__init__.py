"""Kubernetes: the client and cache that the controller lives on, and the embedded API."""
