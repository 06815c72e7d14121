"""The web console: clusters, Secrets, Ingresses and ELB certificates, and what is really served.

It uses public interfaces only: the Kubernetes API, the ELB v3 API, and TLS handshakes. It uses the user's token
for the ELB, and for a cluster the credential that the settings give to the user's role. A restart loses sessions
and tracked rotations, and nothing else.
"""
