"""Secrets are told from ordinary text: the vendors of the estate, random strings, and nothing that people say."""

from __future__ import annotations

import base64
import random
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.suspicion import looks_like_secret

_PICK = random.Random(20261121)


def rand(count: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(_PICK.choices(letters, k=count))


def b64(count: int) -> str:
    return base64.urlsafe_b64encode(_PICK.randbytes(count)).decode().rstrip("=")


UPPER = string.ascii_uppercase + string.digits
VENDORS = {
    "an AWS access key": "AKIA" + rand(16, UPPER),
    "a private key": "-----BEGIN " + "EC PRIVATE KEY-----\n" + b64(60),
    "a GitHub token": "ghp_" + rand(36),
    "a GitLab token": "glpat-" + rand(20),
    "a Slack token": "xoxb-" + rand(12, string.digits) + "-" + rand(24),
    "a Slack webhook": "https://hooks.slack.com/services/"
    + "T"
    + rand(8, UPPER)
    + "/B"
    + rand(8, UPPER)
    + "/"
    + rand(24),
    "an Anthropic key": "sk-ant-api03-" + b64(60),
    "an OpenAI key": "sk-proj-" + b64(60),
    "a Stripe key": "sk_live_" + rand(24),
    "a JSON Web Token": "eyJ" + b64(20) + ".eyJ" + b64(40) + "." + b64(32),
    "an Okta token": "00" + rand(40),
    "an Entra client secret": rand(3) + "8Q~" + rand(34),
    "an Azure key": "AccountKey=" + base64.b64encode(_PICK.randbytes(64)).decode(),
    "a Google API key": "AIza" + rand(35),
    "a Google OAuth secret": "GOCSPX-" + rand(28),
    "a 1Password token": "ops_eyJ" + b64(60),
    "a Vault token": "hvs." + b64(60),
    "an npm or PyPI token": "npm_" + rand(36),
    "an age key": "AGE-SECRET-KEY-1" + rand(58, UPPER),
    "a password in an address": "postgresql://app:hunter2@db.internal/app",
    "a bearer token": "Authorization: Bearer " + rand(30) + "7",
    "a password": "password=correct1horse",
    "a token in an address": "https://example.com/x?code=" + rand(16),
}


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("around", ["{}", 'start key --reason "{}"', "see `{}`, please", "a\n{}\nb"])
def test_vendor_formats(kind: str, around: str) -> None:
    found = looks_like_secret(around.format(VENDORS[kind]))
    assert found == kind
    assert VENDORS[kind] not in found


RANDOM = {
    "urlsafe 32": lambda: b64(32),
    "urlsafe 24": lambda: b64(24),
    "base64 64": lambda: base64.b64encode(_PICK.randbytes(64)).decode(),
    "hex 16": lambda: _PICK.randbytes(16).hex(),
    "hex 32": lambda: _PICK.randbytes(32).hex(),
    "letters and digits 32": lambda: rand(32),
    "AWS secret": lambda: rand(40, string.ascii_letters + string.digits + "+/"),
    "small letters and digits 32": lambda: rand(32, string.ascii_lowercase + string.digits),
    "with punctuation 24": lambda: rand(24, string.ascii_letters + string.digits + "!#$%&*+-=?@^_~"),
}


@pytest.mark.parametrize("kind", RANDOM)
def test_random_strings_are_found(kind: str) -> None:
    missed = sum(looks_like_secret(f"use {RANDOM[kind]()} now") is None for _ in range(1000))
    assert missed <= 60, f"{missed} of 1000 {kind} were taken for words"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "R-7",
        "weekly rotation of identity-signing-production-2026-11 after incident INC-20261121-0042",
        "sha256:" + "ab12" * 16,
        "plan sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "SHA256:uNiVztksCsDhcc0u9e8BrQL7Cd4Z3XQgB5oNxZsF3ZQ",
        "550e8400-e29b-41d4-a716-446655440000",
        "https://identity.example.com/api/v1/admin/keys/abcDEF123456789xyz",
        "kid=es256-2026-11-21T00-37-52Z-a1b2c3",
        "kid: dGhpcy1pcy1hLXB1YmxpYy1raWQtMTIz",
        "secret_files:checkout/api-key#v3",
        "aws_secrets:aegis/jwt#AWSPENDING",
        "file:/run/secrets/admin-token",
        "agentaskit_prod_20260102",
        "the password is stored in vault",
        "password: see 1Password",
        "token: rotated",
        "the secret is out, rotate everything",
        "MyVeryLongCamelCaseClassNameFactoryBeanImpl2",
        "arn:aws:secretsmanager:us-east-1:123456789012:secret:aegis/jwt-AbCdEf",
        "pod identity-7d9f8b6c5d-x2x7k restarted",
        "commit 9fceb02d0ae598e95dc970b74767f19372d61af8",
        "kubernetes.io/service-account-token",
        "2026-11-21T00:37:52.123456+00:00",
        "${{inputs.token_life+facts.cache_ttl}}",
        "status=Ready,phase=Running,containers=3/3",
        'http_requests_total{code=~"5..",job="gateway"}',
        "postgresql://db.internal:5432/identity",
        "k8s_node_memory_MemAvailable_bytes",
        "<@U0123ABCDEF|bob.smith> <#C0123ABCDEF|ops-security-incidents>",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Gk5Qb3yq3rX1c9J4n7m0sWm1f2c3d4e5f6g7h8i9j alice@laptop",
        "-----BEGIN SSH SIGNATURE-----\nU1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgnQaT\n-----END SSH SIGNATURE-----",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "00000000000000000000000000000000",
        "--------------------------------------------------",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert looks_like_secret(text) is None


WORDS = re.findall(
    r"\S+",
    """
    the a weekly rotation of identity signing key for production staging after incident because team asked
    security audit requested old new gateway cache client login failed deploy restart pod service account owner
    left company please do before friday quarter compliance PCI SOC2 ticket JIRA-1234 INC-42 on-call handover
    rotate again v2 2026-11-21 14:30 certificate token password secret api-key database postgres redis kubernetes
    namespace eu-central-1 checkout billing
    """,
)


@given(st.lists(st.sampled_from(WORDS), max_size=40), st.sampled_from([" ", ", ", "-", "_", "/", ". "]))
def test_sentences_and_names_made_of_words_are_no_secrets(words: list[str], joint: str) -> None:
    assert looks_like_secret(joint.join(words)) is None


@given(st.integers(1, 10**9), st.uuids(), st.binary(min_size=32, max_size=32))
def test_ids_and_digests_are_no_secrets(number: int, unique: object, content: bytes) -> None:
    for text in (f"R-{number}", f"status R-{number}", str(unique), f"sha256:{content.hex()}"):
        assert looks_like_secret(text) is None


@given(st.text(max_size=300))
def test_any_text_gets_an_answer_that_does_not_repeat_it(text: str) -> None:
    found = looks_like_secret(text)
    assert found is None or found not in text


def test_it_is_quick_on_hostile_text() -> None:
    for text in (
        "a:" * 50_000,
        "eyJ" * 30_000,
        "-----BEGIN " * 9_000,
        "x=" * 50_000,
        "?token" * 15_000,
        "://a:" * 20_000,
    ):
        looks_like_secret(text)
    assert looks_like_secret("x" * 200_000) == "a very long text"
