"""Tests of the command line, each through a process of its own."""
