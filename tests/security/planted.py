"""Thirty secrets, and what stands in for the redaction when a test switches it off."""

from __future__ import annotations

import sys

import handoff.private_logs
import orchestrator.log

PLANTED: tuple[tuple[str, str], ...] = (
    # (what is searched for, the text that carries it)
    ("sk-ant-api03-Zk81mQ0vT7yXw2Rb", "my key is sk-ant-api03-Zk81mQ0vT7yXw2Rb"),
    ("sk_live_9fK2mX7qPz4LwT8vYb3N", "sk_live_9fK2mX7qPz4LwT8vYb3N is the payment key"),
    ("AKIA4XQZ7M2PLT9WVB3C", "aws AKIA4XQZ7M2PLT9WVB3C"),
    ("ghp_x8Kq2LmVt7Yw4Rz9Pb3NcD6f", "token ghp_x8Kq2LmVt7Yw4Rz9Pb3NcD6f"),
    ("xoxb-77421-abcDEF-9021", "slack xoxb-77421-abcDEF-9021"),
    ("AIzaSyD4kq8ZpTx2Lm7Wv9Rb3Nc6Yf1Gh5Jk0", "maps AIzaSyD4kq8ZpTx2Lm7Wv9Rb3Nc6Yf1Gh5Jk0"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln", "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2ln"),
    ("mF9.B5f-4.1JqMzz", "Authorization: Bearer mF9.B5f-4.1JqMzz"),
    ("QWxhZGRpbjpvcGVuMQ==", "Authorization: Basic QWxhZGRpbjpvcGVuMQ=="),
    ("hunter2-forever", "password=hunter2-forever"),
    ("Tr0ub4dor-3-Mango", 'login {"password": "Tr0ub4dor-3-Mango"}'),
    ("s3ssion-c00kie-81", "Cookie: s3ssion-c00kie-81"),
    ("p4ssw0rd-redis", "redis://:p4ssw0rd-redis@cache.internal:6379/0"),
    ("pg-secret-55", "postgres://desk:pg-secret-55@db.internal/desk"),
    ("url-token-7731", "https://hooks.example/in?token=url-token-7731"),
    (
        "MIIEpAIBAAKCAQEA7",
        "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
    ),
    ("4111 1111 1111 1111", "card 4111 1111 1111 1111"),
    ("5555555555554444", "card 5555555555554444"),
    ("3782-822463-10005", "amex 3782-822463-10005"),
    ("DE89 3704 0044 0532 0130 00", "iban DE89 3704 0044 0532 0130 00"),
    ("GB82WEST12345698765432", "account GB82WEST12345698765432"),
    ("mira.holm@private.example", "write to mira.holm@private.example"),
    ("j.doe+desk@mail.example.org", "from j.doe+desk@mail.example.org"),
    ("+49 170 5550123", "call +49 170 5550123"),
    ("(020) 7946 0958", "phone (020) 7946 0958"),
    ("415-555-0132", "ring 415-555-0132"),
    ("+81 3 5550 0990", "tel +81 3 5550 0990"),
    ("12 Harbour Lane", "I live at 12 Harbour Lane, 20457 Hamburg"),
    ("Lindenstraße 12", "Adresse: Lindenstraße 12, 10969 Berlin"),
    ("7 Mill Street", "ship to 7 Mill Street, Leeds LS1 4AP"),
)
assert len(PLANTED) == 30

TEXTS = tuple(text for _, text in PLANTED)
OFF = "without-redaction"


def found_in(artefacts: str) -> list[str]:
    """The secrets that stand somewhere in what a session left behind, however JSON spelt them."""
    plain = artefacts.replace("\\n", "\n").encode().decode("unicode-escape", "ignore") + artefacts
    return [secret for secret, _ in PLANTED if secret in plain]


def switched() -> None:
    """In a session's process: switch the redaction off if its command line says so. No option does."""
    if OFF in sys.argv:
        sys.argv.remove(OFF)
        handoff.private_logs.redacted = str
        orchestrator.log.redacted_members = dict
