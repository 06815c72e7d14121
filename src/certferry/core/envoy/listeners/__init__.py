"""Envoy listeners: filter chains, TLS contexts, SDS secrets, access log."""
