"""keyturn: a Slack bot that rotates credentials by runbook."""

__version__ = "0.1.0"
