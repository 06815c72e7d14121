"""Certferry keeps the HTTPS certificate of every LoadBalancer ingress valid."""

__version__ = "0.2.0"
