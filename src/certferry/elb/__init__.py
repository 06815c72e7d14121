"""Elastic Load Balance: the v3 REST API, its store, and Envoy as data plane; and a client of the API."""
