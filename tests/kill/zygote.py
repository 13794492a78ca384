"""Preloads the bot once and forks a fresh process for every life; kill, recovery and judgement cost milliseconds."""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from tests.kill.life import Life, live, preload


def main() -> None:
    """One JSON line per life on standard input; its exit status as a JSON line on standard output."""
    for line in sys.stdin:
        life = Life(**json.loads(line))
        preload(life.settings, life.folder, life.database_url)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                live(life)
                code = 0
            except BaseException:
                Path(life.result).write_text(traceback.format_exc())
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        print(json.dumps({"killed": os.WIFSIGNALED(status), "code": os.waitstatus_to_exitcode(status)}), flush=True)


if __name__ == "__main__":
    main()
