"""All SQL: tables, transactions, the audit chain, migrations and delivery."""
