"""The Envoy process: binary, bootstrap, supervision, admin interface."""
