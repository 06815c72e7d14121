"""The embedded Kubernetes API: the kinds that Certferry uses, served as a real API server does."""
