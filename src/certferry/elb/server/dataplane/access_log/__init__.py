"""The access log, with the certificate of each connection."""
