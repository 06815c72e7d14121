"""The embedded Kubernetes API: a small server for the kinds that Certferry uses, tested against a real one.

It runs no Pods and no controllers.
"""
