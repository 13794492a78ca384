"""A real Kubernetes control plane on loopback without containers, and the consumers of a signing secret in its pods."""
