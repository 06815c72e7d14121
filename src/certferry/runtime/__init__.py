"""Shared process infrastructure: publication, encryption, private files, logging, metrics, TLS probes."""
