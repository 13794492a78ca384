"""A Kubernetes control plane for tests: the Go modules it is built from, its fixtures, faults on the way to it."""
