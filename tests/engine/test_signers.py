"""Signatures on votes against the real ssh-keygen: what counts, what does not, and for which reason."""

from __future__ import annotations

import base64
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from bot.core.allowed_signers import read
from bot.core.ballot import NAMESPACE, Ballot
from bot.core.errors import Refused
from bot.core.policy import Policy
from bot.engine.intake import Heard, Intake
from bot.engine.signers import LARGEST, Signed, Signers, problems
from bot.store.database import Database
from tests.ssh import BALLOT, Key, SoftwareToken, armored, need_ssh_keygen
from tests.world import Colleagues

pytestmark = pytest.mark.realparts
PEOPLE = ("alice", "bob", "carol")


@pytest.fixture(autouse=True)
def _real() -> None:
    need_ssh_keygen()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Key]:
    need_ssh_keygen()
    folder = tmp_path_factory.mktemp("keys")
    return {
        "bob": Key.make(folder, "bob"),
        "carol": Key.make(folder, "carol"),
        "mallory": Key.make(folder, "mallory"),
        "ecdsa": Key.make(folder, "ecdsa", "ecdsa", "-b", "384"),
        "rsa": Key.make(folder, "rsa", "rsa", "-b", "4096"),
    }


class File:
    """An allowed_signers file and the signers that read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.signers = Signers(path, PEOPLE)

    def write(self, *lines: str) -> Signers:
        self.path.write_text("".join(f"{line}\n" for line in lines))
        self.path.chmod(0o644)
        return self.signers


@pytest.fixture
def file(tmp_path: Path, keys: dict[str, Key]) -> File:
    made = File(tmp_path / "allowed_signers")
    made.write(f"bob {keys['bob'].public} bob@laptop", f"carol {keys['carol'].public}")
    return made


def refused(signers: Signers, signature: str, code: str, person: str = "bob", ballot: Ballot = BALLOT) -> str:
    with pytest.raises(Refused) as caught:
        signers.verify(ballot, signature, person)
    assert caught.value.code == code, caught.value
    return str(caught.value)


# --- what counts ------------------------------------------------------------------------------------------------------


def test_a_person_s_signature_of_the_ballot_counts(file: File, keys: dict[str, Key]) -> None:
    signature = keys["bob"].sign()
    signed = file.signers.verify(BALLOT, signature, "bob")
    assert signed == Signed(keys["bob"].fingerprint, "bob", signature, file.signers.content_hash())


@pytest.mark.parametrize("kind", ["ecdsa", "rsa"])
def test_other_kinds_of_keys_count(file: File, keys: dict[str, Key], kind: str) -> None:
    signers = file.write(f'bob namespaces="{NAMESPACE}" {keys[kind].public}')
    assert signers.verify(BALLOT, keys[kind].sign(), "bob").fingerprint == keys[kind].fingerprint


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_security_keys_count_when_they_were_touched(file: File, kind: str) -> None:
    token = SoftwareToken(kind)
    signers = file.write(f"bob {token.public}")
    assert signers.verify(BALLOT, token.sign(), "bob").principal == "bob"
    assert "touch" in refused(signers, token.sign(flags=0), "bad-signature")
    forged = token.sign(replace(BALLOT, nonce="another-nonce"))
    refused(signers, forged, "bad-signature")


def test_what_slack_made_of_it_counts_and_is_kept_in_its_canonical_form(file: File, keys: dict[str, Key]) -> None:
    signature = keys["bob"].sign()
    pasted = "```" + " ".join(signature.split()).replace("-----", "——-") + "```"
    assert file.signers.verify(BALLOT, pasted, "bob").signature == signature


def test_one_of_several_keys_of_a_person_is_enough(file: File, keys: dict[str, Key]) -> None:
    signers = file.write(f"bob {keys['ecdsa'].public}", f"bob,bob@example.com {keys['bob'].public}")
    for name in ("ecdsa", "bob"):
        assert signers.verify(BALLOT, keys[name].sign(), "bob").fingerprint == keys[name].fingerprint


# --- what does not ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": "R-8"},
        {"credential": "identity-api-key"},
        {"environment": "staging"},
        {"plan": "sha256:" + "5b" * 32},
        {"nonce": "another-nonce"},
        {"vote": "break-glass"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_signature_of_another_ballot_is_worth_nothing(
    file: File, keys: dict[str, Key], change: dict[str, str]
) -> None:
    other = keys["bob"].sign(replace(BALLOT, **change))
    assert "not of this vote" in refused(file.signers, other, "bad-signature")


def test_a_signature_for_something_else_is_worth_nothing(file: File, keys: dict[str, Key]) -> None:
    for namespace in ("git", "file", "rotation@keyturn.example", "Rotation@keyturn"):
        assert NAMESPACE in refused(file.signers, keys["bob"].sign(namespace=namespace), "bad-signature")


def test_a_namespace_that_was_edited_afterwards_is_a_forgery(file: File, keys: dict[str, Key]) -> None:
    made = "rotation@keyturN"
    blob = base64.b64decode("".join(keys["bob"].sign(namespace=made).splitlines()[1:-1]))
    refused(file.signers, armored(blob.replace(made.encode(), NAMESPACE.encode(), 1)), "bad-signature")


def test_one_flipped_bit_anywhere_is_refused(file: File, keys: dict[str, Key]) -> None:
    blob = base64.b64decode("".join(keys["bob"].sign().splitlines()[1:-1]))
    for at in range(0, len(blob), 11):
        changed = bytearray(blob)
        changed[at] ^= 1
        with pytest.raises(Refused) as caught:
            file.signers.verify(BALLOT, armored(bytes(changed)), "bob")
        assert caught.value.code in ("bad-signature", "unknown-signer")


def test_a_key_put_under_somebody_else_s_signature_is_a_forgery(file: File, keys: dict[str, Key]) -> None:
    """Mallory signs and names bob's key in it."""
    blob = base64.b64decode("".join(keys["mallory"].sign().splitlines()[1:-1]))
    mine, his = (base64.b64decode(keys[name].public.split()[1]) for name in ("mallory", "bob"))
    assert mine in blob
    refused(file.signers, armored(blob.replace(mine, his)), "bad-signature")


def test_a_stranger_s_signature_is_sound_and_does_not_count(file: File, keys: dict[str, Key]) -> None:
    said = refused(file.signers, keys["mallory"].sign(), "unknown-signer")
    assert keys["mallory"].fingerprint in said


def test_another_person_s_key_does_not_count(file: File, keys: dict[str, Key]) -> None:
    refused(file.signers, keys["carol"].sign(), "unknown-signer", person="bob")
    assert file.signers.verify(BALLOT, keys["carol"].sign(), "carol").principal == "carol"


@pytest.mark.parametrize(
    "person", ["dave", "", "*", "bob*", "BOB", "bob,carol", "-Overify-time=1", "bob\ncarol", "bo\0b"]
)
def test_nobody_signs_under_a_name_that_is_not_in_the_file(file: File, keys: dict[str, Key], person: str) -> None:
    refused(file.signers, keys["bob"].sign(), "unknown-signer", person=person)


@pytest.mark.parametrize(
    "options",
    ['valid-before="20200101"', 'valid-after="20990101Z"', 'namespaces="git"', f'namespaces="*,!{NAMESPACE}"'],
)
def test_options_of_the_line_hold(file: File, keys: dict[str, Key], options: str) -> None:
    signers = file.write(f"bob {options} {keys['bob'].public}")
    assert "dates and namespaces" in refused(signers, keys["bob"].sign(), "unknown-signer")


@pytest.mark.parametrize(
    "options", ['valid-before="20990101"', 'valid-after="20200101"', f'namespaces="git,{NAMESPACE}"']
)
def test_options_that_allow_it_let_it_count(file: File, keys: dict[str, Key], options: str) -> None:
    signers = file.write(f"bob {options} {keys['bob'].public}")
    assert signers.verify(BALLOT, keys["bob"].sign(), "bob")


def test_a_line_that_was_taken_out_or_revoked_no_longer_counts(file: File, keys: dict[str, Key]) -> None:
    signature = keys["bob"].sign()
    assert file.signers.verify(BALLOT, signature, "bob")
    line = f"bob {keys['bob'].public}"
    refused(file.write(f"# {line}", f"carol {keys['carol'].public}"), signature, "unknown-signer")
    assert "revoked" in refused(file.write(line, f"@revoked {keys['bob'].public}"), signature, "unknown-signer")
    assert file.write(line).verify(BALLOT, signature, "bob")


def test_lines_that_mean_more_than_a_person_do_not_count(file: File, keys: dict[str, Key]) -> None:
    for line in (
        f"* {keys['mallory'].public}",
        f"b* {keys['mallory'].public}",
        f"bob cert-authority {keys['mallory'].public}",
    ):
        signers = file.write(line, f"bob {keys['bob'].public}")
        refused(signers, keys["mallory"].sign(), "unknown-signer")
        assert signers.verify(BALLOT, keys["bob"].sign(), "bob"), "a bad line spoils no other"


def test_a_key_that_two_people_share_votes_for_neither(file: File, keys: dict[str, Key]) -> None:
    signers = file.write(f"bob,carol {keys['bob'].public}")
    for person in ("bob", "carol"):
        refused(signers, keys["bob"].sign(), "unknown-signer", person=person)


def test_what_is_handed_over_is_read_strictly(file: File, keys: dict[str, Key]) -> None:
    signature = keys["bob"].sign()
    refused(file.signers, "", "unsigned")
    refused(file.signers, keys["bob"].path.read_text(), "secret-typed")
    refused(file.signers, keys["bob"].public, "bad-signature")
    refused(file.signers, signature[: len(signature) // 2], "bad-signature")
    refused(file.signers, "A" * 1_048_576, "bad-signature")
    refused(file.signers, signature + signature, "bad-signature")


# --- the file ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["with space", "-f", "$(touch x)", "a;b", "zeile\nzwei", "ünïcode", "'quote\"", "%s%n"], ids=ascii
)
def test_the_name_of_the_file_is_only_a_name(tmp_path: Path, keys: dict[str, Key], name: str) -> None:
    odd = File(tmp_path / name)
    assert odd.write(f"bob {keys['bob'].public}").verify(BALLOT, keys["bob"].sign(), "bob")
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_a_file_that_cannot_be_trusted_lets_nobody_vote(file: File, keys: dict[str, Key], tmp_path: Path) -> None:
    signature = keys["bob"].sign()
    for mode in (0o664, 0o646):
        file.path.chmod(mode)
        assert "chmod" in refused(file.signers, signature, "signers-unreadable")
    file.path.chmod(0o600)
    assert file.signers.verify(BALLOT, signature, "bob")
    file.path.write_text("# long\n" * (LARGEST // 7 + 1))
    refused(file.signers, signature, "signers-unreadable")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (tmp_path / "nothing", tmp_path, pipe, Path("/dev/zero"), Path("a\0b"), None):
        refused(Signers(path), signature, "signers-unreadable")


def test_no_file_is_left_behind_and_none_could_be_read_by_others(
    file: File, keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path / "room"
    room.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(room))
    program = tmp_path / "ssh-keygen"
    program.write_text(f'#!/bin/sh\n/usr/bin/stat -c "%a %F" {room} {room}/* {room}/*/* >> {tmp_path}/seen\nexit 0\n')
    program.chmod(0o755)
    assert Signers(file.path, PEOPLE, str(program)).verify(BALLOT, keys["bob"].sign(), "bob")
    modes = (tmp_path / "seen").read_text().splitlines()
    assert modes[1:] == ["700 directory", "600 regular file", "600 regular file"]
    refused(file.signers, keys["carol"].sign(), "unknown-signer")
    assert not list(room.iterdir())
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644


def test_without_a_working_ssh_keygen_nothing_counts(file: File, keys: dict[str, Key], tmp_path: Path) -> None:
    signature = keys["bob"].sign()
    gone = Signers(file.path, PEOPLE, str(tmp_path / "ssh-keygen"))
    assert "openssh-client" in refused(gone, signature, "signers-unreadable")
    assert "openssh-client" in gone.problem()
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\necho no user exists for uid 12345 >&2\nexit 255\n")
    program.chmod(0o755)
    assert "sound signature" in refused(gone, signature, "signers-unreadable")
    assert "sound signature" in gone.problem()
    program.write_text("not a program")
    assert gone.problem()
    refused(gone, signature, "signers-unreadable")
    assert not file.signers.problem()


def test_a_hanging_ssh_keygen_is_given_up(
    file: File, keys: dict[str, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh-keygen"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr("bot.engine.signers.SECONDS", 0.2)
    refused(Signers(file.path, PEOPLE, str(program)), keys["bob"].sign(), "signers-unreadable")


def test_a_change_of_the_file_is_audited_once(file: File, keys: dict[str, Key], database: Database) -> None:
    def note(found: str) -> bool:
        with database.begin() as tx:
            return file.signers.note_change(tx, found)

    first = file.signers.content_hash()
    assert note(first)
    assert not note(first)
    file.write(f"bob {keys['ecdsa'].public}")
    signed = file.signers.verify(BALLOT, keys["ecdsa"].sign(), "bob")
    assert signed.file == file.signers.content_hash() != first
    assert note(signed.file)
    with database.read() as reader:
        rows = [row.detail for row in reader.audit_rows() if row.event == "settings.signers-changed"]
    name = file.path.name
    assert rows == [
        {"file": name, "hash": first, "before": ""},
        {"file": name, "hash": signed.file, "before": first},
    ]


def test_lint_reads_the_file_too(file: File, keys: dict[str, Key]) -> None:
    assert not problems(file.path, PEOPLE, ("bob", "carol"))
    assert problems(file.path, PEOPLE, ("alice",)) == [
        "allowed_signers: alice has to sign by policy and has no key that counts; add a line with their public key"
    ]
    file.path.chmod(0o666)
    assert "chmod" in problems(file.path, PEOPLE)[0]
    assert "cannot be read" in problems(file.path.with_name("nothing"), PEOPLE)[0]


def test_many_verify_at_once(file: File, keys: dict[str, Key]) -> None:
    good, bad = keys["bob"].sign(), keys["carol"].sign()

    def verify(n: int) -> bool:
        try:
            return bool(file.signers.verify(BALLOT, good if n % 2 else bad, "bob"))
        except Refused:
            return False

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(verify, range(40))) == [bool(n % 2) for n in range(40)]


def test_ssh_keygen_reads_a_cleaned_line_as_we_do(file: File, keys: dict[str, Key]) -> None:
    """Every sound line that we hand on is one that ssh-keygen takes."""
    for line in ('bob Valid-Before="20990101",namespaces="a,rotation@*"', "bob,x@y", '\tbob  namespaces="*"'):
        text = f'{line} {keys["bob"].public} comment "odd\r'
        assert len(read(text).usable()) == 1
        assert file.write(text).verify(BALLOT, keys["bob"].sign(), "bob")


# --- the door ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def intake(sqlite_database: Database) -> Intake:
    words = {"approve": object()}
    return Intake(sqlite_database, lambda: words, None, Colleagues(Policy(), {}))  # type: ignore[arg-type]  # reads no word


def test_a_signature_is_stored_with_the_intent_and_named_in_the_audit(
    intake: Intake, sqlite_database: Database, keys: dict[str, Key]
) -> None:
    signature = keys["bob"].sign()
    pasted = f"```{signature}```"
    number = intake.hear(Heard(key="1", account="os:bob", text="approve R-7", flags={"signature": pasted})).number
    clicked = Heard(key="2", account="slack:U1", word="approve", args=("R-7",), flags={"signature": pasted})
    for stored in (number, intake.hear(clicked).number):
        with sqlite_database.read() as reader:
            row = reader.intent(stored)
        assert row is not None
        assert row.payload["flags"] == {"signature": signature}
    with sqlite_database.read() as reader:
        details = [row.detail for row in reader.audit_rows() if row.event == "intent.received"]
    assert [detail["flags"] for detail in details] == [{"signature": keys["bob"].fingerprint}] * 2


@pytest.mark.parametrize(("text", "code"), [("nonsense", "bad-signature"), ("private", "secret-typed")])
def test_what_is_no_signature_is_not_stored(
    intake: Intake, sqlite_database: Database, keys: dict[str, Key], text: str, code: str
) -> None:
    given = keys["bob"].path.read_text() if text == "private" else text
    with pytest.raises(Refused) as caught:
        intake.hear(Heard(key="1", account="os:bob", text="approve R-7", flags={"signature": given}))
    assert caught.value.code == code
    with sqlite_database.read() as reader:
        assert reader.intent(1) is None
        rows = [(row.event, row.detail) for row in reader.audit_rows()]
    assert [(event, detail["code"]) for event, detail in rows if event.startswith("intent.")] == [
        ("intent.refused", code)
    ]
    assert given not in str(rows)


def test_an_empty_field_is_a_vote_without_a_signature(intake: Intake, sqlite_database: Database) -> None:
    intake.hear(Heard(key="1", account="os:bob", text="approve R-7", flags={"signature": " "}))
    with sqlite_database.read() as reader:
        row = reader.intent(1)
    assert row is not None
    assert row.payload["flags"] == {}
