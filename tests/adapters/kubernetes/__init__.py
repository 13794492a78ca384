"""The adapter of Kubernetes, as far as it needs no cluster; tests/real meets a control plane."""
