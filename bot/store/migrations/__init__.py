"""Revisions of the schema, run by `keyturn migrate`."""
