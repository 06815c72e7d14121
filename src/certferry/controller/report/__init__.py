"""Writes to Kubernetes: Events, status, annotations; alerts and drift reports."""
