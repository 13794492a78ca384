"""The adapter of Kubernetes against a real control plane."""
