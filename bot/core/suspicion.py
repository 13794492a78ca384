"""Tells whether a text looks like a secret: the formats of vendors, and strings too random to be a name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

LONGEST = 100_000

_VENDORS: tuple[tuple[str, str], ...] = (
    ("a private key", r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[23]:"),
    ("an AWS access key", r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"),
    ("a GitHub token", r"\b(?:gh[pousr]_[A-Za-z0-9]{20,255}|github_pat_[A-Za-z0-9_]{22,255})\b"),
    ("a GitLab token", r"\bgl(?:pat|ptt|dt|rt|soat|cbt|ft|agent|imt)-[A-Za-z0-9_-]{20,}"),
    ("a Slack token", r"\bx(?:ox[a-z]|app|wfp)(?:\.xox[bp])?-[0-9A-Za-z-]{10,}"),
    ("a Slack webhook", r"hooks\.slack\.com/(?:services|workflows|triggers)/T[A-Za-z0-9_]+/[A-Za-z0-9_/]+"),
    ("an Anthropic key", r"\bsk-ant-[A-Za-z0-9_-]{16,}"),
    ("an OpenAI key", r"\bsk-(?:(?:proj|svcacct|admin|None)-)?[A-Za-z0-9_-]{20,}"),
    ("a Stripe key", r"\b(?:sk|rk|pk|whsec)_(?:(?:live|test)_)?[A-Za-z0-9]{16,}"),
    ("a JSON Web Token", r"\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),
    ("an Okta token", r"\b00[A-Za-z0-9_-]{40}(?![A-Za-z0-9_-])|\bSSWS\s+[A-Za-z0-9_-]{20,}"),
    (
        "an Entra client secret",
        r"(?<![A-Za-z0-9_~.-])[A-Za-z0-9_~.-]{3}[78]Q~[A-Za-z0-9_~.-]{31,34}(?![A-Za-z0-9_~.-])",
    ),
    ("an Azure key", r"(?i:\b(?:AccountKey|SharedAccessKey|sig)\s*=\s*)[A-Za-z0-9+/%]{30,}(?:=|%3d){0,2}"),
    ("a Google API key", r"\bAIza[0-9A-Za-z_-]{35}(?![0-9A-Za-z_-])"),
    ("a Google OAuth secret", r"\b(?:GOCSPX-[A-Za-z0-9_-]{20,}|ya29\.[A-Za-z0-9_-]{20,})"),
    ("a 1Password token", r"\bops_eyJ[A-Za-z0-9_-]{20,}|\bA3-[A-Z0-9]{6}(?:-[A-Z0-9]{5,6}){4,}\b"),
    ("a Vault token", r"\bhv[sbr]\.[A-Za-z0-9_-]{20,}"),
    ("an npm or PyPI token", r"\b(?:npm_[A-Za-z0-9]{30,}|pypi-AgE[A-Za-z0-9_-]{20,})"),
    ("an age key", r"\bAGE-SECRET-KEY-1[A-Z0-9]{20,}"),
    ("a keyturn API key", r"\bkt_[a-z]+_[A-Za-z0-9_-]{20,}"),
    ("a password in an address", r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/@:]{0,80}:[^\s/@]{3,200}@"),
    ("a bearer token", r"(?i:\b(?:bearer|basic)\s+)(?=[A-Za-z0-9+/=._~-]*[0-9])[A-Za-z0-9+/=._~-]{16,}"),
    (
        "a password",
        r"(?i:\b(?:password|passwd|pwd|passphrase|secret|api[_-]?key|access[_-]?key|(?:auth|access)[_-]?token|token)"
        r"[\"']?\s*(?::=|=|:)\s*[\"']?)(?![<$\[{(*])(?=[^\s\"']*[0-9!#$%^&+/])[^\s\"',;]{8,}",
    ),
)
_FORMATS = tuple((kind, re.compile(pattern)) for kind, pattern in _VENDORS)

_HARMLESS = re.compile(
    r"""
      \b(?:sha(?:1|224|256|384|512)|md5|blake2[bs]|SHA256|MD5):[A-Za-z0-9+/=:_-]{16,}          # digests, fingerprints
    | \b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b            # UUIDs
    | \b(?:ssh-(?:ed25519|rsa|dss)|ecdsa-sha2-nistp[0-9]+|sk-ssh-ed25519@openssh\.com)\ +[A-Za-z0-9+/=]+  # public keys
    | -----BEGIN\ (?:SSH\ SIGNATURE|PUBLIC\ KEY|RSA\ PUBLIC\ KEY|CERTIFICATE|PGP\ SIGNATURE)-----
      [A-Za-z0-9+/=\s]*-----END\ [A-Z\ ]+-----
    | \bU1NIU0lH[A-Za-z0-9+/=]+                                                                  # SSH signatures
    | \barn:[a-z0-9-]+:[^\s"'<>]+                                                              # names of AWS things
    | \b(?i:commit|rev|revision|sha)[\ :=]+[0-9a-f]{7,64}\b                                     # commits
    | \bkid[=:]\s*[A-Za-z0-9_-]{1,64}\b                                                          # ids of public keys
    | <[@#!][^<>\s]*(?:\|[^<>]*)?>                                                               # Slack's own marks
    """,
    re.VERBOSE,
)
_CREDENTIAL_FIELD = re.compile(
    r"(?i)[?&#](?:[a-z_-]*(?:token|secret|password|signature|api_?key)|sig|code)=[^&\s]{12,}"
)
_ADDRESS = re.compile(r"\bhttps?://[^\s<>\"']+")
_REFERENCE = re.compile(r"\b[a-z][a-z0-9_]*:[A-Za-z0-9._/@+-]+#[A-Za-z0-9._-]{1,128}")
_CANDIDATE = re.compile(r"[!-~]{16,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")
_SEPARATORS = "-_./@:,;()[]{}|=+ "
_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])|[0-9]{4,}")
_PAIRS = frozenset(
    re.findall(
        "[a-z]{2}",
        """
        th he in er an re on at en nd ti es or te of ed is it al ar st to nt ng se ha as ou io le ve co me de hi ri ro
        ic ne ea ra ce li ch ll be ma si om ur ca el ta la ns di fo ho pe ec pr no ct us ac ot il tr ly nc et ut ss so
        rs un lo wa ge ie wh ee wi em ad ol rt po we na ul ni ts mo ow pa im mi ai sh ir su id os iv ia am fi ci vi pl
        ig tu ev ld ry mp fe bl ab gh ty op wo sa ay ex ke fr oo av ag if ap gr od bo sp rd do uc bu ei ov by rm ep tt
        oc cu sc da cr cl ue ff va um up au ck gn ku ub ey xy
        """,
    )
)
"""Pairs of letters that are frequent in English; chance gives one of them in five or six."""


def looks_like_secret(text: str) -> str | None:
    """The kind of secret that a text seems to hold (`a GitHub token`), never the value; None when it holds none.

    Rotation ids, digests, UUIDs, key ids, addresses, secret references and SSH signatures are no secrets.
    """
    if len(text) > LONGEST:
        return "a very long text"
    rest = _HARMLESS.sub(" ", text)
    for kind, pattern in _FORMATS:
        if pattern.search(rest):
            return kind
    if _CREDENTIAL_FIELD.search(rest):
        return "a token in an address"
    rest = _REFERENCE.sub(" ", _ADDRESS.sub(" ", rest))
    if any(_random(piece) for piece in _pieces(rest)):
        return "a random string such as a password or key"
    return None


def _pieces(text: str) -> Iterator[str]:
    for match in _CANDIDATE.finditer(text):
        yield match[0].strip("\"'`<>()[]{}.,;:!?=")


def _random(piece: str) -> bool:
    """Whether nobody would write this as a name: long, of mixed characters, and with hardly a word in it."""
    if _HEX.fullmatch(piece):
        return len(set(piece.casefold())) >= 8
    kinds = sum(bool(re.search(pattern, piece)) for pattern in (r"[a-z]", r"[A-Z]", r"[0-9]"))
    odd = sum(not letter.isalnum() and letter not in _SEPARATORS for letter in piece)
    shortest = {0: 40, 1: 40, 2: 28, 3: 20}[kinds] - (4 if odd >= 2 else 0)
    if len(piece) < shortest or _entropy(piece) < min(3.6, 0.8 * math.log2(len(piece))):
        return False
    return _spoken(piece) < 0.4


def _entropy(text: str) -> float:
    """Bits per character, as the text's own letters are distributed."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())


def _spoken(piece: str) -> float:
    """The share that reads as words, years or counters: `my-credential-2026` is all of that, a key hardly any."""
    words = sum(len(match[0]) for match in _WORD.finditer(piece) if _wordlike(match[0].casefold()))
    return (words + sum(letter in _SEPARATORS for letter in piece)) / len(piece)


def _wordlike(text: str) -> bool:
    if text.isdigit():
        return True
    pairs = [text[i : i + 2] in _PAIRS for i in range(len(text) - 1)]
    return len(text) > 2 and sum(pairs) * 3 >= len(pairs) * 2
