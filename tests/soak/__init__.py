"""What takes long: `make soak` alone runs it."""
