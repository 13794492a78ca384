"""Reads the Dockerfile: stages with their instructions, in order."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = ROOT / "Dockerfile"


@dataclass
class Stage:
    """A stage: its image, its name, and its instructions as (word, rest)."""

    image: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        """What stands after each instruction of this word."""
        return [rest for one, rest in self.instructions if one == word]

    def pairs(self, word: str) -> dict[str, str]:
        """`ENV` and `ARG` as a mapping."""
        return dict(part.split("=", 1) for rest in self.all(word) for part in shlex.split(rest) if "=" in part)


def read(path: Path = DOCKERFILE) -> tuple[dict[str, str], list[Stage]]:
    """Global arguments and the stages."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    text = re.sub(r"\\\n", " ", "\n".join(lines))
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in text.splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = re.sub(r"\s{2,}", " ", rest.strip())
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            stages.append(Stage(image, name))
        elif word == "ARG" and not stages:
            name, _, value = rest.partition("=")
            arguments[name] = value
        elif word:
            stages[-1].instructions.append((word, rest))
    return arguments, stages


def command(text: str) -> list[str]:
    """The words of an instruction in JSON form; raises `ValueError` for the shell form."""
    found = json.loads(text)
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise ValueError(f"not in JSON form: {text}")
    return found
