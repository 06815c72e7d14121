"""What `up` shows at first start: a demo CA, a backend, and the objects of one HTTPS page."""
