"""Documentation, and the programs that make a part of it from the declarations."""
