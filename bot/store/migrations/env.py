"""How Alembic runs the revisions: on the connection that `bot.store.schema` locked, in its transaction."""

from alembic import context

from bot.store.tables import METADATA

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=METADATA)
context.run_migrations()
