"""docker-compose.yml fits the compose specification, and says what our own code expects."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from rabbitjobs.broker.install import IMAGES, REFERENCE
from rabbitjobs.cli.root import cli

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PASSWORD = "RABBITJOBS_PASSWORD"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """The file as a compose program reads it: anchors and merges resolved."""
    yaml = YAML(typ="safe", pure=True)
    read: dict[str, Any] = yaml.load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    return read


def test_it_fits_the_schema_of_the_specification(compose: dict[str, Any]) -> None:
    """Every key and type is one that the specification knows."""
    schema = json.loads((HERE / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    plain = json.loads(json.dumps(compose))
    found = jsonschema.Draft7Validator(schema).iter_errors(plain)
    assert [error.message for error in found] == []


def test_the_schema_would_have_found_a_mistake(compose: dict[str, Any]) -> None:
    """A mistyped key is an error, so the check above means something."""
    schema = json.loads((HERE / "compose-spec.json").read_text(encoding="utf-8"))
    services = {**compose["services"], "api": {**compose["services"]["api"], "comand": ["x"]}}
    wrong = json.loads(json.dumps({**compose, "services": services}))
    assert list(jsonschema.Draft7Validator(schema).iter_errors(wrong))


def test_every_part_of_an_installation_is_there(compose: dict[str, Any]) -> None:
    """Broker, store, apply, consumers, intake, notifier and the example API."""
    parts = {"rabbitmq", "postgres", "apply", "consumers", "intake", "notifier", "api"}
    assert set(compose["services"]) == parts


def test_the_broker_is_the_one_that_set_up_runs(compose: dict[str, Any]) -> None:
    """The same image as a private node's, with the management plugin and a health check."""
    broker = compose["services"]["rabbitmq"]
    assert broker["image"] == IMAGES[REFERENCE]
    assert broker["image"].endswith("-management")
    assert broker["image"].startswith(f"rabbitmq:{REFERENCE}.")
    assert "rabbitmq-diagnostics" in str(broker["healthcheck"]["test"])


def test_images_are_pinned_and_data_lives_in_named_volumes(compose: dict[str, Any]) -> None:
    """No tag that moves from one major or minor version to the next, no anonymous volume."""
    for name, service in compose["services"].items():
        assert re.search(r":\d+\.\d+", service["image"]), f"{name}: {service['image']}"
    mounted = {
        volume.partition(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", ())
    }
    assert mounted == set(compose["volumes"])
    for line in (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines():
        if line.startswith("FROM ") and ":" in line:
            assert re.search(r":\d+\.\d+\.\d+", line), line


def test_nothing_listens_beyond_the_loopback_address(compose: dict[str, Any]) -> None:
    """Every published port is bound to 127.0.0.1."""
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_roles_wait_for_apply_and_apply_for_healthy_servers(compose: dict[str, Any]) -> None:
    """No role starts before schema and topology stand."""
    services = compose["services"]
    for role in ("consumers", "intake", "notifier", "api"):
        assert services[role]["depends_on"]["apply"]["condition"] == (
            "service_completed_successfully"
        )
    for server in ("rabbitmq", "postgres"):
        assert services["apply"]["depends_on"][server]["condition"] == "service_healthy"
        assert "healthcheck" in services[server]


@pytest.mark.parametrize("role", ["consumers", "intake", "notifier", "apply"])
def test_the_commands_exist(compose: dict[str, Any], role: str) -> None:
    """Each command line is one that `rabbitjobs` understands, options included."""
    service = compose["services"][role]
    commands = [service["command"]]
    if "entrypoint" in service:
        commands = [line.split()[1:] for line in service["command"][0].split(";")]
    for command in commands:
        answer = CliRunner().invoke(cli, [*command, "--help"])
        assert answer.exit_code == 0, answer.output
        for option in (part for part in command if part.startswith("--")):
            assert option in answer.output
