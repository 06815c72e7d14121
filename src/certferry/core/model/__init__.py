"""The vocabulary: ELB resources, Kubernetes objects as read, names, problems."""
