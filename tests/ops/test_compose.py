"""docker-compose.yml and deploy/, checked without Docker: schema, references, commands that exist, no secrets."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from app.settings import Settings
from app.topics import GROUPS

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SCHEMA = json.loads((Path(__file__).parent / "compose_schema.json").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SECRET = re.compile(r"PASSWORD|KEYID|KEYFILE|TOKEN|DSN")


def test_file_follows_the_compose_schema() -> None:
    """Every key and value has the type that the specification gives it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(COMPOSE, SCHEMA)


def test_what_the_services_name_exists() -> None:
    """Dependencies, their health checks, named volumes and mounted files are all there, and no volume is unused."""
    used = set()
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES, name
            assert how["condition"] != "service_healthy" or "healthcheck" in SERVICES[other], (name, other)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
            elif not source.startswith("${"):
                used.add(source)

    assert used == set(COMPOSE["volumes"])
    assert (ROOT / OURS["state"]["build"]["dockerfile"]).exists()


def test_every_service_that_stays_is_restarted_and_has_a_health_check() -> None:
    """Only the two one-shot services end; all others are watched."""
    for name, service in SERVICES.items():
        if name in ("topics", "migrate"):
            assert service["restart"] == "no"
        else:
            assert service["restart"] == "unless-stopped", name
            assert "healthcheck" in service, name


def test_ports_are_bound_to_loopback_only_and_differ() -> None:
    """Nothing is open to other hosts."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_each_group_has_its_worker_and_the_variables_are_settings() -> None:
    """One worker per consumer group; each variable of our services is a setting, its text one that is accepted."""
    roles = [service["environment"].get("WORKER_ROLE") for service in OURS.values()]

    assert sorted(role for role in roles if role) == sorted(GROUPS)
    for name, service in OURS.items():
        unknown = {key for key in service["environment"] if key.lower() not in Settings.model_fields}
        assert not unknown, name
        plain = {k.lower(): v for k, v in service["environment"].items() if "${" not in v}
        Settings(_env_file=None, **plain)


def test_no_secret_stands_in_the_file() -> None:
    """Whatever names a secret takes it from the environment."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if SECRET.search(name):
                assert "${" in value, name
    assert "KEY-----" not in (ROOT / "docker-compose.yml").read_text()


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(OURS))
def test_command_of_our_service_exists(name: str, tmp_path: Path) -> None:
    """The command line is accepted by the installed program, option by option (`--help` ends it before it works)."""
    program, *arguments = OURS[name]["command"]
    module = {"kalshi-streams": "ops.cli", "faust": "faust"}[program]
    required = {key: re.sub(r"\$\{\w+:\?[^}]*\}", "given", value) for key, value in OURS[name]["environment"].items()}
    given = {key: re.sub(r"\$\{\w+:-(.*)\}", r"\1", value) for key, value in required.items()}
    given |= {"DATA_DIR": str(tmp_path), "PARQUET_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments, "--help"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | given,
    )

    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_worker_service_is_the_worker_that_up_starts(tmp_path: Path) -> None:
    """Compose and `up` run the same program with the same options."""
    from ops.data_dir import DataDir
    from ops.feed import parse_feed
    from ops.plan import Plan, UpOptions, choose_ports

    settings = Settings(_env_file=None, data_dir=tmp_path)
    plan = Plan(settings, UpOptions(parse_feed("sim")), DataDir(tmp_path), choose_ports(settings, None))
    argv = plan.worker("state").argv[2:]
    values = {argv[argv.index("--datadir") + 1], argv[argv.index("--web-port") + 1]}

    assert [part for part in argv if part not in values] == [
        part for part in SERVICES["state"]["command"] if part not in ("/data/faust", "6066")
    ]


def test_prometheus_scrapes_every_process_of_ours_that_stays() -> None:
    """Targets are the services and their container ports; the rules file is there and is YAML."""
    config = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    targets = {target for job in config["scrape_configs"] for one in job["static_configs"] for target in one["targets"]}
    served = {f"{name}:{port.split(':')[-1]}" for name, service in OURS.items() for port in service.get("ports", [])}

    assert targets == served
    for file in config["rule_files"]:
        assert yaml.safe_load((ROOT / "deploy/prometheus" / file).read_text())["groups"]


def test_dashboard_and_alerts_ask_for_metrics_that_exist() -> None:
    """Each metric name of ours that is asked for is built somewhere in the code."""
    text = (ROOT / "deploy/grafana/dashboards/kalshi-streams.json").read_text()
    text += (ROOT / "deploy/prometheus/alerts.yml").read_text()
    code = "".join(
        path.read_text() for folder in ("app", "agents", "producers") for path in (ROOT / folder).glob("*.py")
    )
    asked = set(re.findall(r"\bkalshi_(?:streams|producer)_(\w+)", text))

    assert len(asked) > 8
    for name in asked:
        assert re.sub("_(total|sum|count|bucket)$", "", name) in code, name


def test_systemd_unit_runs_a_command_that_exists() -> None:
    """The unit's command line is one of ours."""
    unit = (ROOT / "deploy/systemd/kalshi-streams.service").read_text()
    (line,) = re.findall(r"^ExecStart=(.+)$", unit, re.MULTILINE)
    program, *arguments = line.split()
    done = subprocess.run([sys.executable, "-m", "ops.cli", *arguments, "--help"], check=False, capture_output=True)

    assert program.endswith("/kalshi-streams")
    assert done.returncode == 0
