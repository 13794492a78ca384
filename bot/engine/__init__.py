"""The use cases: load, decide, save. Nothing here knows Slack, SQL or a vendor."""
