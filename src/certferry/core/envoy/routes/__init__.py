"""Envoy routes: matches, actions, redirects, headers, access lists."""
