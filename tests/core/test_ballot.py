"""The ballot binds everything that it shows, and the reader of signatures takes what people paste and nothing else."""

from __future__ import annotations

import base64
import hashlib
import itertools
import shlex
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.ballot import LONGEST, look_at, parse_signature
from bot.core.errors import Refused
from bot.core.suspicion import looks_like_secret
from tests.ssh import BALLOT, SoftwareToken, armored, string

ED25519 = b"ssh-ed25519"
KEY = string(ED25519) + string(bytes(range(32)))


def blob(key: bytes = KEY, namespace: bytes = b"rotation@keyturn", signed: bytes = b"", tail: bytes = b"") -> bytes:
    signed = signed or string(ED25519) + string(bytes(range(64)))
    parts = string(key) + string(namespace) + string(b"") + string(b"sha512") + string(signed)
    return b"SSHSIG" + (1).to_bytes(4) + parts + tail


SOUND = armored(blob())


def refused(text: str, code: str = "bad-signature") -> str:
    with pytest.raises(Refused) as caught:
        parse_signature(text)
    assert caught.value.code == code
    return str(caught.value)


# --- the ballot -------------------------------------------------------------------------------------------------------


def test_the_text_is_a_line_for_each_thing_that_is_bound() -> None:
    assert BALLOT.text().decode() == (
        "keyturn ballot 1\n"
        "vote: approve\n"
        "rotation: R-7\n"
        "credential: identity-signing\n"
        "environment: production\n"
        f"plan: sha256:{'5a' * 32}\n"
        "nonce: n0nce-of-seven\n"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": "R-8"},
        {"credential": "identity-api-key"},
        {"environment": "staging"},
        {"plan": "sha256:" + "5b" * 32},
        {"nonce": "n0nce-of-eight"},
        {"vote": "break-glass"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_changes_the_text(change: dict[str, str]) -> None:
    assert replace(BALLOT, **change).text() != BALLOT.text()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", "7"),
        ("rotation", "R-07"),
        ("rotation", "R-7\nvote: approve"),
        ("credential", ""),
        ("credential", "a\nenvironment: development"),
        ("credential", "a\u2028b"),
        ("credential", "gnp\u202e.exe"),
        ("credential", " a"),
        ("environment", "x" * 201),
        ("plan", "sha256:abc"),
        ("plan", "sha256:" + "5A" * 32),
        ("plan", "sha256:" + "5a" * 32 + "\n"),
        ("nonce", "short"),
        ("nonce", "n0nce of seven"),
        ("vote", "approve\n"),
        ("vote", ""),
    ],
)
def test_a_field_that_could_be_read_otherwise_is_refused(name: str, value: str) -> None:
    with pytest.raises(Refused) as caught:
        replace(BALLOT, **{name: value})
    assert caught.value.code == "bad-ballot"
    assert name in str(caught.value)


@given(st.text(max_size=40), st.text(max_size=40))
def test_no_two_ballots_have_one_text(credential: str, environment: str) -> None:
    try:
        ballot = replace(BALLOT, credential=credential, environment=environment)
    except Refused:
        return
    lines = ballot.text().decode().splitlines()
    assert lines[3:5] == [f"credential: {credential}", f"environment: {environment}"]
    assert len(lines) == 7


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=30))
def test_the_command_holds_the_ballot_whatever_the_name(name: str) -> None:
    try:
        ballot = replace(BALLOT, credential=name)
    except Refused:
        return
    words = shlex.split(ballot.command())
    assert words[:3] == ["keyturn", "approve", "R-7"]
    assert words[words.index("--credential") + 1] == name
    assert words[words.index("--plan") + 1] == ballot.plan


# --- what is pasted ---------------------------------------------------------------------------------------------------

MANGLED = {
    "as it is": SOUND,
    "CRLF": SOUND.replace("\n", "\r\n"),
    "one line": " ".join(SOUND.split("\n")),
    "one line without spaces in it": SOUND.replace("-----\n", "----- ").replace("\n", ""),
    "hard spaces": SOUND.replace(" ", "\u00a0").replace("\n", "\u00a0\n"),
    "code fence": f"```\n{SOUND}```",
    "code fence on one line": f"```{SOUND.strip()}```",
    "code": f"`{' '.join(SOUND.split())}`",
    "long dashes": SOUND.replace("-----", "——-"),
    "one long dash": SOUND.replace("-----", "—"),
    "quote": "".join(f"> {line}\n" for line in SOUND.splitlines()),
    "escaped quote": "".join(f"&gt; {line}\n" for line in SOUND.splitlines()),
    "indented": "".join(f"    {line}\n" for line in SOUND.splitlines()),
    "byte order mark and zero width": "\ufeff" + SOUND.replace("SSH", "\u200bSSH"),
    "empty lines around": f"\n\n{SOUND}\n\n",
}


@pytest.mark.parametrize("how", MANGLED)
def test_what_slack_and_phones_do_to_it_is_undone(how: str) -> None:
    assert parse_signature(MANGLED[how]) == SOUND


PRIVATE = "-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE " + "KEY-----"
WRONG = {
    "words": "please approve",
    "a public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA",
    "a PGP signature": SOUND.replace("SSH SIGNATURE", "PGP SIGNATURE"),
    "text before": f"here you are: {SOUND}",
    "text after": f"{SOUND}thanks",
    "two": SOUND + SOUND,
    "no end": SOUND.partition("-----END")[0],
    "only an end": SOUND.partition("-----\n")[2],
    "nothing inside": armored(b""),
    "not base64": SOUND.replace("U1NI", "U1*I"),
    "padding inside": SOUND.replace("U1NI", "U=NI"),
    "letters of others": SOUND.replace("U1NI", "U1NІ"),
    "no magic": armored(b"SSHSIX" + blob()[6:]),
    "version 2": armored(b"SSHSIG" + (2).to_bytes(4) + blob()[10:]),
    "cut off": armored(blob()[:-20]),
    "cut off in the head": armored(blob()[:9]),
    "a length that lies": armored(blob()[:10] + (2**32 - 1).to_bytes(4) + blob()[14:]),
    "more behind it": armored(blob(tail=b"x")),
    "a certificate": armored(blob(string(b"ssh-ed25519-cert-v01@openssh.com") + KEY[15:])),
    "DSA": armored(blob(string(b"ssh-dss") + KEY[15:])),
    "a security key without flags": armored(blob(string(b"sk-ssh-ed25519@openssh.com") + KEY[15:])),
    "a megabyte": SOUND.replace("U1NI", "U1NI" * 250_000),
    "a megabyte of spaces": " " * 1_000_000 + "x",
    "a null byte": SOUND.replace("U1NI", "U1\0NI"),
}


@pytest.mark.parametrize("what", WRONG)
def test_everything_else_is_refused_in_a_sentence(what: str) -> None:
    said = refused(WRONG[what])
    assert said.endswith(".")
    assert "keyturn approve" in said
    assert len(said) < 300


def test_nothing_is_unsigned() -> None:
    for text in ("", "  \n", "\u00a0"):
        refused(text, "unsigned")


@pytest.mark.parametrize(
    "text",
    [
        PRIVATE,
        " ".join(PRIVATE.split()),
        SOUND + PRIVATE,
        PRIVATE.replace("OPENSSH ", "RSA ").replace("-----", "—"),
        PRIVATE.splitlines()[1],
        "PuTTY-User-Key-File-3: ssh-ed25519",
        "x" * LONGEST + PRIVATE,
    ],
)
def test_a_private_key_is_named_as_one_and_not_repeated(text: str) -> None:
    said = refused(text, "secret-typed")
    assert "private key" in said
    assert "b3BlbnNz" not in said


def test_hostile_lengths_take_no_time() -> None:
    pieces = (
        " ",
        "-",
        "`",
        "> ",
        "&gt;",
        "-----BEGIN SSH SIGNATURE-----",
        "PRIVATE ",
        "PRIVATE KE",
        "A",
        "A ",
        "\n",
        "\n>",
    )
    began = time.process_time()
    for piece in pieces:
        for end in ("", "x", "-----END SSH SIGNATURE-----"):
            for start in ("", "-----BEGIN SSH SIGNATURE-----", "```"):
                text = start + piece * (LONGEST // len(piece) - 4) + end
                with pytest.raises(Refused):
                    parse_signature(text[:LONGEST])
    assert time.process_time() - began < 5


@given(st.text(max_size=400))
def test_any_text_is_a_refusal(text: str) -> None:
    with pytest.raises(Refused):
        parse_signature(text)


@given(st.binary(max_size=400))
def test_any_bytes_in_armor_are_a_refusal_or_a_signature(data: bytes) -> None:
    for content in (data, b"SSHSIG" + data, blob()[:10] + data):
        try:
            assert parse_signature(armored(content)) == armored(content)
        except Refused as error:
            assert error.code in ("bad-signature", "secret-typed")  # noqa: PT017 - either outcome is right


@given(st.data())
def test_white_space_anywhere_in_the_body_changes_nothing(data: st.DataObject) -> None:
    body = base64.b64encode(blob()).decode()
    spaces = st.text(alphabet=" \t\r\n\u00a0\u2003\u200b", max_size=3)
    at = data.draw(st.lists(st.integers(0, len(body)), max_size=12))
    cut = sorted({0, len(body), *at})
    loose = "".join(body[a:b] + data.draw(spaces) for a, b in itertools.pairwise(cut))
    text = f"-----BEGIN SSH SIGNATURE-----\n{loose}\n-----END SSH SIGNATURE-----"
    assert parse_signature(text) == SOUND


def test_it_says_how_the_signature_was_made() -> None:
    made = look_at(parse_signature(SOUND))
    assert (made.kind, made.namespace, made.touched) == ("ssh-ed25519", "rotation@keyturn", True)
    wanted = base64.b64encode(hashlib.sha256(KEY).digest()).decode().rstrip("=")
    assert made.fingerprint == f"SHA256:{wanted}"


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_it_says_whether_a_security_key_was_touched(kind: str) -> None:
    token = SoftwareToken(kind)
    assert look_at(parse_signature(token.sign())).touched
    assert not look_at(parse_signature(token.sign(flags=0x04))).touched


def test_a_signature_is_no_secret_wherever_it_is_typed() -> None:
    for how in ("as it is", "one line", "code fence", "CRLF"):
        assert looks_like_secret(MANGLED[how]) is None
