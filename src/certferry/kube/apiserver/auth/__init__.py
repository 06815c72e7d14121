"""Authentication, RBAC and the kubeconfigs of the embedded API."""
