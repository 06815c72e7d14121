"""Issuance: orders for certificates, worked through at CAs by ACME (RFC 8555)."""
