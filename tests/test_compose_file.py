"""compose.yaml says what it has to, in the words that Compose knows. No engine is needed to see that."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.compose import FILE, ROOT, compose_file, environment_file, variables_in

TOP = {"name", "services", "networks", "volumes", "configs", "secrets"}
SERVICE: dict[str, type | tuple[type, ...]] = {
    "image": str,
    "build": str,
    "profiles": list,
    "command": list,
    "environment": dict,
    "init": bool,
    "user": str,
    "read_only": bool,
    "tmpfs": list,
    "cap_drop": list,
    "security_opt": list,
    "restart": str,
    "stop_grace_period": str,
    "configs": list,
    "secrets": list,
    "volumes": list,
    "networks": (list, dict),
    "ports": list,
    "depends_on": dict,
    "healthcheck": dict,
    "deploy": dict,
}
"""The keys of a service that the file uses, as the Compose specification types them."""
HEALTH = {"test": list, "interval": str, "timeout": str, "retries": int, "start_period": str}
DURATION = re.compile(r"(\d+(us|ms|s|m|h))+")
SERVERS = sorted(main.parent.name.replace("_", "-") for main in (ROOT / "servers").glob("*/__main__.py"))
READ = compose_file(profile="scale")
SERVICES: dict[str, dict[str, Any]] = READ["services"]
OURS = sorted(set(SERVICES) - {"redis"})


def test_the_file_has_only_sections_that_compose_knows() -> None:
    written = yaml.safe_load(FILE.read_text("utf-8"))

    assert {name for name in written if not name.startswith("x-")} == TOP
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", written["name"])


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_key_of_a_service_is_known_and_of_its_type(name: str) -> None:
    service = SERVICES[name]

    assert set(service) <= set(SERVICE)
    for key, value in service.items():
        assert isinstance(value, SERVICE[key]), key
    for key in ("command", "tmpfs", "cap_drop", "security_opt", "volumes", "ports", "profiles"):
        assert all(isinstance(each, str) for each in service.get(key, [])), key
    assert all(isinstance(value, str | int) for value in service.get("environment", {}).values())
    assert DURATION.fullmatch(service["stop_grace_period"])
    assert service["restart"] in ("no", "always", "on-failure", "unless-stopped")


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_whatever_a_service_refers_to_is_there(name: str) -> None:
    service = SERVICES[name]
    conditions = {"service_started", "service_healthy", "service_completed_successfully"}

    for section in ("secrets", "configs"):
        for each in service.get(section, []):
            assert set(each) <= {"source", "target", "uid", "gid", "mode"}
            assert each["source"] in READ[section]
            assert each["target"].startswith("/")
    assert {volume.partition(":")[0] for volume in service.get("volumes", [])} <= set(READ["volumes"])
    assert set(service["networks"]) <= set(READ["networks"])
    for other, how in service.get("depends_on", {}).items():
        assert "healthcheck" in SERVICES[other]
        assert how["condition"] in conditions


@pytest.mark.parametrize("name", sorted(set(SERVICES) - {"worker"}))
def test_every_service_that_is_called_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]

    assert set(check) == set(HEALTH)
    for key, value in check.items():
        assert isinstance(value, HEALTH[key]), key
    assert check["test"][0] == "CMD"
    assert all(DURATION.fullmatch(check[key]) for key in ("interval", "timeout", "start_period"))


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_no_service_is_root_or_can_write_where_it_need_not(name: str) -> None:
    service = SERVICES[name]
    user, _, group = service["user"].partition(":")

    assert int(user) > 0
    assert int(group) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_each_server_is_a_service_with_a_store_a_name_and_tokens_of_its_own() -> None:
    assert set(SERVERS) == set(OURS) - {"orchestrator", "worker"}
    for name in SERVERS:
        service = SERVICES[name]
        assert service["command"][:2] == [f"switchboard-{name}", "--http"]
        assert [volume.partition(":")[0] for volume in service["volumes"]] == [name]
        assert [secret["source"] for secret in service["secrets"]] == [f"{name}-tokens"]
        assert service["environment"]["SWITCHBOARD_ALLOWED_HOSTS"] == name
        assert "ports" not in service


def test_whoever_calls_servers_has_a_credential_for_each_and_no_server_has_one() -> None:
    credentials = {f"{name}-credential" for name in SERVERS}
    for name in ("orchestrator", "worker"):
        assert {each["source"] for each in SERVICES[name]["secrets"]} - {"service-tokens"} == credentials
    assert all(f'credential_file = "/run/secrets/{each}"' in _servers_file() for each in credentials)


def test_only_the_service_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published == {"orchestrator": ["127.0.0.1:8080:8080"]}
    assert READ["networks"]["servers"] == {"internal": True}


def test_scale_adds_redis_that_loses_nothing_workers_and_a_second_replica() -> None:
    scale = environment_file(ROOT / "scale.env")
    plain, scaled = compose_file(), compose_file(scale, profile=scale["COMPOSE_PROFILES"])
    redis = " ".join(scaled["services"]["redis"]["command"])

    assert set(scaled["services"]) - set(plain["services"]) == {"redis", "worker"}
    for setting in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert setting in redis
    for name in SERVERS:
        assert plain["services"][name]["deploy"]["replicas"] == "1"
        assert scaled["services"][name]["deploy"]["replicas"] == "2"
        assert scaled["services"][name]["environment"]["SWITCHBOARD_STORE"] == "redis://redis:6379/0"
    assert set(scale) - {"COMPOSE_PROFILES"} <= set(variables_in(FILE.read_text("utf-8")))


def test_a_variable_has_the_same_default_wherever_it_stands() -> None:
    several = {name: found for name, found in variables_in(FILE.read_text("utf-8")).items() if len(found) > 1}

    # The orchestrator's store is a file, the servers' a folder in which each has one.
    assert set(several) == {"STORE"}


def test_the_image_is_built_from_what_the_build_may_see_and_runs_as_the_same_user() -> None:
    recipe = (ROOT / "Dockerfile").read_text("utf-8")
    seen = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] == "!"}
    copied = [
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", recipe, re.MULTILINE)
        for name in line.split()
    ]

    assert set(copied) == seen
    assert all((ROOT / name).exists() for name in copied)
    assert f"\nUSER {SERVICES['billing']['user']}\n" in recipe
    assert "PIP_CONSTRAINT=/build/constraints.txt" in recipe


def test_every_command_is_a_script_of_the_distribution() -> None:
    scripts = re.findall(r'^(switchboard[a-z-]*) = "', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)

    assert {SERVICES[name]["command"][0] for name in OURS} <= set(scripts)


def _servers_file() -> str:
    content = READ["configs"]["servers"]["content"]
    assert isinstance(content, str)
    return content
