"""Types, decoding, patching and the protobuf form of Kubernetes objects."""
