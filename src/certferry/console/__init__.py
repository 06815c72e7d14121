"""The web console: clusters, Secrets, Ingresses and ELB certificates, and what is really served.

It uses what everybody may use: the Kubernetes API, the ELB v3 API, and TLS handshakes. Towards the ELB
it is the person who logged in; towards a cluster it is the credential that the settings give to that
person's role. It keeps nothing that a restart would lose but who is logged in.
"""
