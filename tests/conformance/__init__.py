"""One kit, applied to every adapter."""
