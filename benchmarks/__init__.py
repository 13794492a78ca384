"""Floors and product side by side, in one run: what each part costs by itself, and what keyturn makes of it."""
