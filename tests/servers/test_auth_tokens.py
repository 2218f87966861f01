"""Bearer tokens from a file: what counts, when, and how an operator gives them out."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from servers._auth.tokens import TokenFileError, Tokens, hashed
from servers._command import server_command
from tests.servers.guarded import write_tokens
from tests.servers.sample_server import DEFINITION

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.toml"


def test_a_token_is_known_by_its_hash_and_names_its_principal_and_scopes(path: Path) -> None:
    tokens = Tokens(write_tokens(path, desk=["billing:read", "staff"]))
    found = tokens.identity("tok-desk")

    assert found is not None
    assert found.principal == "desk"
    assert found.scopes == {"billing:read", "staff"}
    assert tokens.identity("tok-other") is None
    assert tokens.identity("") is None
    assert "tok-desk" not in path.read_text("utf-8")


def test_a_token_of_one_customer_is_a_principal_of_its_own(path: Path) -> None:
    tokens = Tokens(write_tokens(path, portal={"scopes": ["billing:read"], "customer_id": "cus_1"}))
    found = tokens.identity("tok-portal")

    assert found is not None
    assert (found.principal, found.customer_id) == ("portal@cus_1", "cus_1")


def test_a_token_counts_until_it_expires(path: Path) -> None:
    now = [NOW]
    write_tokens(path, desk={"scopes": ["staff"], "expires_at": NOW + timedelta(hours=1)})
    tokens = Tokens(path, clock=lambda: now[0])

    assert tokens.identity("tok-desk") is not None
    now[0] += timedelta(hours=1)
    assert tokens.identity("tok-desk") is None


def test_tokens_rotate_without_a_moment_in_which_none_is_valid(path: Path) -> None:
    table = '[[tokens]]\nprincipal = "desk"\nsha256 = "{}"\nscopes = ["staff"]\n'
    old, new = (table.format(hashed(token)) for token in ("old", "new"))
    path.write_text(old, "utf-8")
    tokens = Tokens(path)
    valid = []
    for text in (old, old + new, new):
        replacement = path.with_suffix(".next")
        replacement.write_text(text, "utf-8")
        replacement.replace(path)
        valid.append([token for token in ("old", "new") if tokens.identity(token)])

    assert valid == [["old"], ["old", "new"], ["new"]]


@pytest.mark.parametrize("broken", ["[[tokens]", "tokens = []", "\x00", None])
def test_a_file_that_became_unusable_changes_nothing(path: Path, broken: str | None) -> None:
    tokens = Tokens(write_tokens(path, desk=["staff"]))
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken, "utf-8")

    assert tokens.identity("tok-desk") is not None
    write_tokens(path, second=["staff"])
    assert tokens.identity("tok-desk") is None
    assert tokens.identity("tok-second") is not None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"scopes": ["billing:*"]}, "no scope"),
        ({"scopes": "billing:read"}, "tokens.0.scopes"),
        ({"scopes": [], "sha255": "x"}, "sha255"),
        ({"scopes": [], "customer_id": "../x"}, "customer_id"),
        ({"scopes": [], "expires_at": datetime(2027, 1, 1)}, "expires_at"),  # noqa: DTZ001 that is the fault
        ({"scopes": ["billing:refund", "billing:approve"]}, "person = true"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_place_and_without_the_value(
    path: Path, entry: dict[str, Any], said: str
) -> None:
    with pytest.raises(TokenFileError) as refused:
        Tokens(write_tokens(path, desk=entry))

    assert said in refused.value.message
    assert "../x" not in refused.value.message


def test_nobody_is_called_like_the_local_user(path: Path) -> None:
    with pytest.raises(TokenFileError, match="local user"):
        Tokens(write_tokens(path, local=["staff"]))


def test_only_a_persons_token_may_ask_for_refunds_and_approve_them(path: Path) -> None:
    both = ["billing:read", "billing:refund", "billing:approve"]
    tokens = Tokens(write_tokens(path, mia={"scopes": both, "person": True}, noor=["billing:approve"]))

    assert tokens.identity("tok-mia") is not None
    assert tokens.identity("tok-noor") is not None


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(path: Path, capfd: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            server_command(DEFINITION)(["tokens", *arguments, "--tokens", str(path)])
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out.strip(), err.strip()

    return run


def test_a_token_is_printed_once_and_only_its_hash_is_kept(command: Command, path: Path) -> None:
    status, token, told = command("add", "desk", "--scope", "sample:read", "--scope", "staff", "--days", "30")

    assert status == 0
    assert token not in path.read_text("utf-8") + told
    assert path.stat().st_mode & 0o077 == 0 or os.name == "nt"
    found = Tokens(path).identity(token)
    assert found is not None
    assert found.scopes == {"sample:read", "staff"}
    [entry] = tomllib.loads(path.read_text("utf-8"))["tokens"]
    assert timedelta(days=29) < entry["expires_at"] - datetime.now(UTC) < timedelta(days=31)


def test_a_token_taken_away_leaves_the_others_and_the_comments(command: Command, path: Path) -> None:
    path.write_text("# Who may call.\n", "utf-8")
    path.write_text("# Who may call.\n\n" + write_tokens(path, first=["staff"]).read_text("utf-8"), "utf-8")
    _, second, _ = command("add", "second", "--scope", "staff", "--customer", "cus_1")
    status, listed, _ = command("list")
    removed, said, _ = command("remove", hashed("tok-first")[:12])

    assert status == removed == 0
    assert listed.splitlines() == [
        f"{hashed('tok-first')[:12]}  first  staff",
        f"{hashed(second)[:12]}  second  staff  only for cus_1",
    ]
    assert said.startswith("removed ")
    tokens = Tokens(path)
    assert tokens.identity("tok-first") is None
    assert tokens.identity(second) is not None
    assert path.read_text("utf-8").startswith("# Who may call.")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "Desk", "--scope", "staff"), "principal"),
        (("add", "desk", "--scope", "billing:refund", "--scope", "billing:approve"), "person"),
        (("remove", "abc"), "no token"),
        (("remove", ""), "no token"),
    ],
)
def test_what_cannot_be_done_with_tokens_is_one_line(
    command: Command, path: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = write_tokens(path, first=["staff"]).read_text("utf-8")
    status, _, told = command(*arguments)

    assert status == 1
    assert said in told
    assert len(told.splitlines()) == 1
    assert path.read_text("utf-8") == before
