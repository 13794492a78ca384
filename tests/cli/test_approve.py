"""`keyturn approve` on a person's own machine, and its signature handed over with `keyturn run … --signature`."""

from __future__ import annotations

import base64
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.ballot import Ballot, fingerprint
from bot.core.errors import Refused
from bot.engine.signers import Signers
from bot.store.database import Database
from tests.cli.conftest import Installation
from tests.ssh import BALLOT, Key, need_ssh_keygen

pytestmark = pytest.mark.realparts
ARGUMENTS = BALLOT.command().split()[1:]


@pytest.fixture
def laptop(tmp_path: Path) -> Installation:
    """An approver's machine: a home with an SSH key in it, no settings, no database, no agent."""
    need_ssh_keygen()
    (tmp_path / ".ssh").mkdir(mode=0o700)
    here = {"HOME": str(tmp_path), "SSH_AUTH_SOCK": "", "GIT_CONFIG_NOSYSTEM": "1", "XDG_CONFIG_HOME": str(tmp_path)}
    return Installation(tmp_path, here)


@pytest.fixture
def key(laptop: Installation) -> Key:
    return Key.make(laptop.folder / ".ssh", "id_ed25519")


@pytest.fixture
def agent(laptop: Installation) -> Iterator[None]:
    """An agent of the test's own."""
    socket = laptop.folder / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()  # it prints the socket's name when it listens
    laptop.variables["SSH_AUTH_SOCK"] = str(socket)
    yield
    process.terminate()
    process.wait(10)


def verifies(folder: Path, signature: str, public: str, ballot: Ballot = BALLOT) -> bool:
    path = folder / "signers"
    path.write_text(f"bob {public}\n")
    path.chmod(0o644)
    try:
        return bool(Signers(path).verify(ballot, signature, "bob"))
    except Refused:
        return False


def test_the_block_that_is_printed_counts(laptop: Installation, key: Key) -> None:
    done = laptop.keyturn(*ARGUMENTS, "--yes")
    assert done.returncode == 0, done.stderr
    assert verifies(laptop.folder, done.stdout, key.public)
    assert not verifies(laptop.folder, done.stdout, key.public, replace(BALLOT, environment="staging"))
    assert done.stdout.endswith("-----END SSH SIGNATURE-----\n"), "so that it can be put into a file"
    for _, value in BALLOT.lines:
        assert value in done.stderr
    assert "keyturn run 'approve R-7' --signature R-7.sig" in done.stderr


def test_another_vote_is_another_signature(laptop: Installation, key: Key) -> None:
    ballot = replace(BALLOT, vote="break-glass")
    done = laptop.keyturn(*ballot.command().split()[1:], "--yes", "--json")
    made = json.loads(done.stdout)
    assert (made["vote"], made["key"]) == ("break-glass", key.fingerprint)
    assert verifies(laptop.folder, made["signature"], key.public, ballot)
    assert not verifies(laptop.folder, made["signature"], key.public)
    said = laptop.keyturn(*ballot.command().split()[1:], "--yes").stderr
    assert "keyturn run 'contain R-7 --reason \"why\"' --signature R-7.sig" in said


def test_nothing_is_signed_without_a_look(laptop: Installation, key: Key) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "bot", *ARGUMENTS],
        cwd=laptop.folder,
        env=laptop.environment(),
        input=f"{BALLOT.credential}\n",
        capture_output=True,
        text=True,
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert "--yes" in process.stderr


@pytest.mark.parametrize(("typed", "code"), [(BALLOT.credential, 0), ("y", 1), ("", 1), ("identity-api-key", 1)])
def test_the_credential_s_name_has_to_be_typed(laptop: Installation, key: Key, typed: str, code: int) -> None:
    ours, theirs = pty.openpty()
    os.write(ours, f"{BALLOT.credential}\n".encode())  # pasted behind the command: no answer to what was not asked yet
    process = subprocess.Popen(
        [sys.executable, "-m", "bot", *ARGUMENTS],
        cwd=laptop.folder,
        env=laptop.environment(),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    shown = b""
    while b"to sign: " not in shown:
        piece = os.read(process.stderr.fileno(), 4096)
        assert piece, shown
        shown += piece
    assert BALLOT.plan.encode() in shown
    os.write(ours, f"{typed}\n".encode())
    out, _ = process.communicate(timeout=30)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == code
    assert verifies(laptop.folder, out.decode(), key.public) is (code == 0)


def test_the_key_that_is_named_comes_first_then_git_s_then_a_usual_one(laptop: Installation, key: Key) -> None:
    named, configured = Key.make(laptop.folder, "named"), Key.make(laptop.folder, "configured", "ecdsa")
    (laptop.folder / ".gitconfig").write_text(f"[user]\n\tsigningkey = {configured.path}.pub\n")

    def used(*more: str) -> str:
        done = laptop.keyturn(*ARGUMENTS, "--yes", "--json", *more)
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["key"])

    assert used("--key", f"{named.path}.pub") == named.fingerprint
    assert used("--key", str(named.path)) == named.fingerprint
    if shutil.which("git"):
        assert used() == configured.fingerprint
    (laptop.folder / ".gitconfig").write_text("[user]\n\tsigningkey = 0xDEADBEEF\n")
    assert used() == key.fingerprint


def test_an_agent_signs(laptop: Installation, agent: None) -> None:
    kept = Key.make(laptop.folder, "kept")
    subprocess.run(["ssh-add", "-q", str(kept.path)], env=laptop.environment(), check=True, capture_output=True)
    kept.path.unlink()
    for more in ((), ("--key", f"{kept.path}.pub"), ("--key", kept.public)):
        done = laptop.keyturn(*ARGUMENTS, "--yes", *more)
        assert done.returncode == 0, done.stderr
        assert verifies(laptop.folder, done.stdout, kept.public)


def test_wrong_use_and_missing_keys_say_the_way_out(laptop: Installation) -> None:
    done = laptop.keyturn(*ARGUMENTS, "--yes")
    assert done.returncode == 1
    assert "ssh-keygen -t ed25519" in done.stderr
    done = laptop.keyturn(*ARGUMENTS, "--yes", "--key", "missing.pub")
    assert done.returncode == 1
    assert "There is no key missing.pub" in done.stderr
    lonely = Key.make(laptop.folder, "lonely")
    lonely.path.unlink()
    done = laptop.keyturn(*ARGUMENTS, "--yes", "--key", f"{lonely.path}.pub")
    assert done.returncode == 1
    assert "ssh-add" in done.stderr
    assert done.stdout == ""
    cut = [word.removesuffix("5a") for word in ARGUMENTS]
    done = laptop.keyturn(*cut, "--yes")
    assert done.returncode == 2
    assert "sha256: and 64 characters" in done.stderr
    assert laptop.keyturn("approve", "R-7").returncode == 2


# --- on the bot's host ------------------------------------------------------------------------------------------------


def stored(installation: Installation) -> dict[str, str]:
    database = Database.open(installation.variables["KEYTURN_DATABASE_URL"])
    with database.read() as reader:
        row = reader.intent(1)
    database.close()
    return dict(row.payload["flags"]) if row is not None else {}


def test_a_signature_in_a_file_goes_with_the_vote(migrated: Installation, tmp_path: Path) -> None:
    need_ssh_keygen()
    key = Key.make(tmp_path, "bob")
    (migrated.folder / "R-7.sig").write_text(key.sign())
    done = migrated.keyturn("run", "approve R-7", "--signature", "R-7.sig", "--wait", "0.01")
    assert "Stored as intent 1" in done.stderr, done.stderr
    assert stored(migrated) == {"signature": key.sign()}
    export = migrated.keyturn("audit", "export").stdout
    assert fingerprint(base64.b64decode(key.public.split()[1])) in export
    assert "BEGIN SSH" not in export


def test_standard_input_will_do(migrated: Installation, tmp_path: Path) -> None:
    need_ssh_keygen()
    signature = Key.make(tmp_path, "bob").sign()
    command = [sys.executable, "-m", "bot", "run", "approve R-7", "--signature", "-", "--wait", "0.01"]
    subprocess.run(command, cwd=migrated.folder, env=migrated.environment(), input=signature, text=True, timeout=60)
    assert stored(migrated) == {"signature": signature}


def test_what_is_no_signature_is_not_handed_over(migrated: Installation, tmp_path: Path) -> None:
    need_ssh_keygen()
    key = Key.make(tmp_path, "bob")
    for content, code, said in (("please", 2, "no SSH signature"), (key.path.read_text(), 2, "private key")):
        (migrated.folder / "R-7.sig").write_text(content)
        done = migrated.keyturn("run", "approve R-7", "--signature", "R-7.sig", "--wait", "0.01")
        assert done.returncode == code
        assert said in done.stderr
    done = migrated.keyturn("run", "approve R-7", "--signature", "missing.sig")
    assert done.returncode == 1
    assert "cannot be read" in done.stderr
    assert stored(migrated) == {}
