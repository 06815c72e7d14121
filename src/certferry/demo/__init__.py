"""The demo of `certferry up`: a CA, a backend, and the objects of one HTTPS page."""
