"""Preloads the bot once and forks a fresh process for every life; kill, recovery and judgement cost milliseconds."""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from pathlib import Path

from tests.kill.life import Life, live


def main() -> None:
    """One JSON line per life on standard input; its exit status as a JSON line on standard output."""
    for line in sys.stdin:
        life = Life(**json.loads(line))
        if life.rehearsal:
            code, killed = _run(life), False
            gc.collect()
            gc.freeze()  # a child that collects would copy every page of its parent
        else:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    code = _run(life)
                finally:
                    os._exit(code)
            _, status = os.waitpid(child, 0)
            code, killed = os.waitstatus_to_exitcode(status), os.WIFSIGNALED(status)
        print(json.dumps({"killed": killed, "code": code}), flush=True)


def _run(life: Life) -> int:
    try:
        live(life)
    except BaseException:
        Path(life.result).write_text(traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    main()
