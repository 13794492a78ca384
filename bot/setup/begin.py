"""`keyturn init`: writes the files of a new installation and says what comes next. Nothing is ever overwritten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from bot import keys
from bot.core.errors import Permanent
from bot.slack import manifest

SETTINGS = "keyturn.yml"
VARIABLES = "keyturn.env"
KEYS = "keys"
_IGNORED = f"{KEYS}/\n{VARIABLES}\n*.db\n*.db-*\n*.db.lock\n"

_VARIABLES = """\
# The secrets of keyturn, for its process alone. Read them with: set -a; . ./keyturn.env; set +a
SLACK_BOT_TOKEN=
SLACK_APP_TOKEN=
# Over HTTP instead of Socket Mode: KEYTURN_TRANSPORT=http, and the signing secret in place of the app token.
#KEYTURN_TRANSPORT=http
#SLACK_SIGNING_SECRET=
# Without this the database is the file keyturn.db beside you. For several replicas:
#KEYTURN_DATABASE_URL=postgresql://keyturn@db.example.com/keyturn
"""

_NEXT = """\
Written to {folder}: {names}.

What comes next:

 1. Create the Slack app. At https://api.slack.com/apps choose Create New App, From a manifest, your workspace, and
    paste manifest.yml. (manifest-http.yml is for bots behind an ingress; put your address into it first.)
 2. Install it: Install App, Install to Workspace. Copy the Bot User OAuth Token (xoxb-…) into SLACK_BOT_TOKEN in
    keyturn.env.
 3. Socket Mode: Basic Information, App-Level Tokens, Generate, with the scope connections:write. Copy it (xapp-…) into
    SLACK_APP_TOKEN in keyturn.env.
 4. Groups: make a Slack user group for those who approve, with at least two people. Its id (S…) is in its menu, Copy
    group ID. A person's id (U…) is in their profile, Copy member ID. Put both into keyturn.yml.
 5. Channel: choose where the cards go, put its id (C…, at the end of the channel's details) into keyturn.yml, and say
    /invite @keyturn there.
 6. Credentials: replace the example in keyturn.yml by yours; `keyturn lint` and `keyturn plan <credential>` help.
 7. Database: SQLite needs nothing, for one process. For several replicas set KEYTURN_DATABASE_URL to a PostgreSQL
    database of its own. Then: keyturn migrate
 8. Try everything out, in {folder}:
                         set -a; . ./keyturn.env; set +a; keyturn doctor
 9. Start the bot:       keyturn serve
10. In Slack:            /rotate help

Keep keyturn.yml in git. Keep {keys} and keyturn.env out of it, and keep a backup of {keys}: without its public key the
audit cannot be verified.
"""


def begin(folder: Path) -> int:
    """Write everything, or nothing. Raises `Permanent` when something is there already or cannot be written."""
    content: Mapping[str, tuple[str, int]] = {
        SETTINGS: (files("bot.setup").joinpath(SETTINGS).read_text(encoding="utf-8"), 0o644),
        manifest.FILES["socket"]: (manifest.render("socket"), 0o644),
        manifest.FILES["http"]: (manifest.render("http"), 0o644),
        VARIABLES: (_VARIABLES, 0o600),
    }
    taken = [name for name in (*content, KEYS) if (folder / name).exists()]
    if taken:
        there = f"{', '.join(taken)} {'is' if len(taken) == 1 else 'are'} already in {folder.resolve()}"
        raise Permanent(f"{there}, so nothing was written.", "Name another folder: keyturn init FOLDER.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (text, mode) in content.items():
            _write(folder / name, text, mode)
        if not (folder / ".gitignore").exists():
            _write(folder / ".gitignore", _IGNORED, 0o644)
    except OSError as error:
        raise Permanent(
            f"{error.filename or folder} cannot be written ({error.strerror}).",
            "Name a folder that you may write to: keyturn init FOLDER.",
        ) from None
    keys.make_keys(folder / KEYS)
    print(_NEXT.format(folder=folder.resolve(), names=", ".join((*content, f"{KEYS}/")), keys=f"{KEYS}/"), end="")
    return 0


def _write(path: Path, text: str, mode: int) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
