"""Whole stories: the real workspace simulator, the real bot, the real estate."""
