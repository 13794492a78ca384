"""`keyturn review`: writes into a runbook who has read it, and what."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from bot.core.errors import Refused
from bot.core.reviewed import Same, why_unreviewed
from bot.core.runbook import Reviewed
from bot.core.runbook_file import LoadedRunbook, load, loads

_REVIEWED = re.compile(r"^reviewed:.*\n(?:[ \t]+\S.*\n)*", re.MULTILINE)
_AUTHOR = re.compile(r"^author:.*\n", re.MULTILINE)


def review(path: Path, by: str, same: Same) -> LoadedRunbook:
    """Say that `by` has read the file as it stands. The file is replaced at once or not at all.

    Raises `Refused` where it would count for nothing, `Invalid` where the runbook has mistakes, `OSError`.
    """
    found = load(path)
    text = path.read_text(encoding="utf-8")
    name = by.strip()
    reviewed = Reviewed(by=name or "-", digest=found.content)
    line = f'reviewed: {{by: "{reviewed.by}", digest: "{reviewed.digest}"}}\n'
    bare = _REVIEWED.sub("", text)
    author = _AUTHOR.search(bare)
    if author is None or not name or not name.isprintable() or set(name) & {'"', "\\"}:
        wrong = "it names no author; add author: with the name of who wrote it" if author is None else "that is no name"
        raise Refused(f"{path} was not changed: {wrong}.", code="no-review")
    written = bare[: author.end()] + line + bare[author.end() :]
    after = loads(written, str(path))
    why = why_unreviewed(after, same)
    if why is not None or after.content != found.content:
        told = f"{why.message} ({why.hint})" if why else "its layout is unusual; put `reviewed:` on a line of its own"
        raise Refused(f"{path} was not changed: {told}.", code="no-review")
    _replace(path, written)
    return after


def _replace(path: Path, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
