"""Envoys on other machines: registration, certificate authority, mutual TLS."""
