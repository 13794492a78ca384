"""The pure part: no I/O, no clock, no vendor. Everything here is a function of its arguments."""
