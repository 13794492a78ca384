"""The runbooks that come with keyturn: one YAML file per kind of credential, read by `bot.core.runbook_file`."""
