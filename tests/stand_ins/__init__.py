"""Small stand-ins for systems that nobody can run here, as strict as their published contracts."""
