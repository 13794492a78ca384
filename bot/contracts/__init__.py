"""The sockets: what the author of an adapter or a command imports, and nothing else."""
