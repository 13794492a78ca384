"""`keyturn approve`: shows what is approved, and signs it with an SSH key on a person's own machine."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path

from bot.core.ballot import NAMESPACE, Ballot, look_at, parse_signature
from bot.core.errors import Permanent, Refused

GOOD, PROBLEMS, WRONG = 0, 1, 2
USUAL = ("id_ed25519_sk", "id_ecdsa_sk", "id_ed25519", "id_ecdsa", "id_rsa")
"""Names of keys in ~/.ssh, the ones that have to be touched first."""
_LITERAL = ("ssh-", "sk-ssh-", "ecdsa-sha2-", "sk-ecdsa-sha2-")
_WORDS = {"break-glass": "contain", "request": "approve"}
"""Votes that are cast by a word of another name."""
_WITH_REASON = frozenset({"contain", "reject"})
_NO_KEY = "name one with --key ~/.ssh/id_ed25519.pub, or make one with: ssh-keygen -t ed25519"


def approve(ballot: Ballot, key: str, *, yes: bool, as_json: bool) -> int:
    """Show the ballot, ask, sign, and print the signature to standard output; everything else goes to standard error.

    Nothing is sent anywhere. Raises `Permanent` where there is no key or ssh-keygen does not sign.
    """
    say("You are about to sign:\n")
    for label, value in ballot.lines:
        say(f"    {label:12} {value}")
    say("")
    if not yes and not _confirmed(ballot):
        return PROBLEMS
    with tempfile.TemporaryDirectory(prefix="keyturn-") as folder:
        path = _key(key, Path(folder))
        say(
            f"Signing with {path if path.parent != Path(folder) else 'your agent'}; a security key wants to be touched."
        )
        signature = _sign(ballot, path)
    made = look_at(signature)
    if as_json:
        print(json.dumps({"good": True, "signature": signature, "key": made.fingerprint, **dict(ballot.lines)}))
        return GOOD
    print(signature, end="", flush=True)
    say(
        f"\nSigned with {made.fingerprint}. Paste the block into the field for the signature in Slack, or put it "
        f"into a file and run, on the bot's host:\n\n    {_command(ballot)}\n"
    )
    return GOOD


def read_signature(name: str) -> str:
    """The signature in a file, or on standard input for `-`, in its canonical form.

    Raises `Refused` for anything that is not one, and `Permanent` for a file that cannot be read.
    """
    if name == "-":
        return parse_signature(sys.stdin.read(1_000_000))
    try:
        with open(name, encoding="utf-8", errors="replace") as file:
            return parse_signature(file.read(1_000_000))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "that is no name of a file"
        raise Permanent(f"The signature's file cannot be read: {why}.", "Name the file that holds the block.") from None


def say(text: str) -> None:
    """To the person, and not into what is piped on."""
    print(text, file=sys.stderr, flush=True)


def _command(ballot: Ballot) -> str:
    word = _WORDS.get(ballot.vote, ballot.vote)
    reason = ' --reason "why"' if word in _WITH_REASON else ""
    said = shlex.quote(f"{word} {ballot.rotation}{reason}")
    return f"keyturn run {said} --signature {ballot.rotation}.sig"


def _confirmed(ballot: Ballot) -> bool:
    """The name has to be typed: it cannot be typed without being read, and a pasted line break is no consent."""
    if not sys.stdin.isatty():
        say("Nothing was signed: there is no terminal to ask on. Say --yes if you have read the lines above.")
        return False
    termios.tcflush(sys.stdin, termios.TCIFLUSH)  # whatever was pasted behind the command
    say("Compare these lines with what you mean to approve.")
    print("Type the credential's name to sign: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != ballot.credential:
        say("That is not its name; nothing was signed.")
        return False
    return True


def _key(named: str, folder: Path) -> Path:
    """The key to sign with: the one that was named, git's, a usual file, or the agent's first one."""
    if named:
        return _as_path(named, folder)
    configured = _output("git", "config", "--get", "user.signingkey")
    if configured.startswith(("key::", *_LITERAL)):
        return _as_path(configured.removeprefix("key::"), folder)
    if configured and _path(configured).is_file():  # else it names a key of GnuPG's
        return _path(configured)
    for path in _usual():
        return path
    for line in _output("ssh-add", "-L").splitlines():
        if line.startswith(_LITERAL):
            return _as_path(line, folder)
    raise Permanent("There is no SSH key to sign with.", f"To choose one, {_NO_KEY}.")


def _as_path(key: str, folder: Path) -> Path:
    if key.startswith(_LITERAL) and " " in key:
        public = folder / "key.pub"
        public.write_text(key + "\n", encoding="utf-8")
        return public
    path = _path(key)
    if not path.is_file():
        raise Permanent(f"There is no key {key}.", f"To choose one, {_NO_KEY}.")
    return path


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # nobody of that name has a home
        return Path(text).absolute()


def _usual() -> Iterator[Path]:
    folder = _path("~/.ssh")
    return (path for name in USUAL for path in (folder / f"{name}.pub", folder / name) if path.is_file())


def _output(*words: str) -> str:
    """What a program prints; empty when it is not there or has nothing to say."""
    program = shutil.which(words[0])
    if program is None:
        return ""
    try:
        done = subprocess.run([program, *words[1:]], capture_output=True, text=True, timeout=10, check=False)  # noqa: S603 - fixed words
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _sign(ballot: Ballot, key: Path) -> str:
    """Let ssh-keygen sign; it asks for a passphrase or a touch by itself, so there is no time limit."""
    program = shutil.which("ssh-keygen")
    if program is None:
        raise Permanent("ssh-keygen is not installed.", "Install OpenSSH's client (the package openssh-client).")
    words = [program, "-Y", "sign", "-f", str(key), "-n", NAMESPACE]
    done = subprocess.run(words, input=ballot.text(), stdout=subprocess.PIPE, check=False)  # noqa: S603 - as above, and a path
    if done.returncode != 0:
        hint = "It needs the private key beside the public one, or in your agent (ssh-add)."
        raise Permanent(f"ssh-keygen did not sign with {key}.", hint)
    try:
        return parse_signature(done.stdout.decode(errors="replace"))
    except Refused as error:
        raise Permanent(f"ssh-keygen signed with {key}, but that cannot count.", str(error)) from None
