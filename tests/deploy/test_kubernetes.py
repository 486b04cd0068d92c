"""The manifests: rendered by kustomize, strict for the oldest and the newest Kubernetes, and fitting together."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import SecretStr

from infra import metrics
from infra.role_server import STUCK_SECONDS
from infra.settings import Settings
from tests.deploy.bounds import closing_seconds, excel_bytes, memory_needed
from tests.deploy.kubernetes import (
    FOLDER,
    OVERLAYS,
    PASSWORD,
    Manifest,
    filled_in,
    kustomize,
    of_kind,
    pods,
    rendered,
    selects,
)
from tests.deploy.tools import ROOT, run

AUDIT = "/var/lib/app-manager/audit"
VERSIONS = ("1.33", "1.37")
ROLES = {"api": "serve", "worker": "work", "projector": "project", "relay": "relay"}
PORTS = {
    "api": Settings.model_fields["port"].default,
    **{role: Settings.model_fields[f"{role}_metrics_port"].default for role in ("worker", "projector", "relay")},
}


@pytest.fixture(scope="module", params=OVERLAYS)
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Manifest]:
    return rendered(request.param, tmp_path_factory.mktemp(request.param))


def roles(manifests: Sequence[Manifest]) -> Mapping[str, tuple[Manifest, Manifest]]:
    """Labels and spec of the pods of our roles."""
    return {name: (labels, spec) for name, labels, spec in pods(manifests) if name in ROLES}


@pytest.mark.parametrize("kubernetes", VERSIONS)
def test_it_is_strictly_valid(manifests: Sequence[Manifest], kubernetes: str) -> None:
    for told in manifests:
        kubernetes_validate.validate(told, kubernetes, strict=True)


def test_the_check_finds_a_field_that_does_not_exist(manifests: Sequence[Manifest]) -> None:
    broken = {**of_kind(manifests, "Deployment")["api"], "replicaz": 1}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[0], strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_without_the_operators_secrets_nothing_is_rendered(overlay: str, tmp_path: Any) -> None:
    folder = filled_in(overlay, tmp_path)
    for secrets in folder.glob("*.env.example"):
        secrets.with_suffix("").unlink()
    refused = kustomize(folder)
    assert refused.returncode != 0
    assert "secrets.env" in refused.stderr


def test_no_secret_is_in_the_repository() -> None:
    assert (
        run("git", "check-ignore", *[FOLDER / "overlays" / name / "secrets.env" for name in OVERLAYS]).returncode == 0
    )
    assert run("git", "check-ignore", FOLDER / "overlays/local/stores.env").returncode == 0
    for name in OVERLAYS:
        assert run("git", "check-ignore", FOLDER / "overlays" / name / "audit-signing-key.pem").returncode == 0
    for example in FOLDER.rglob("*.env.example"):
        for line in example.read_text(encoding="utf-8").splitlines():
            assert re.fullmatch(r"#.*|\w+=|\w+=\S*PASSWORD@\S+|MONGODB=\S*PASSWORD@\S+|PORTALS=\{\}", line), line
    assert "kind: Secret" not in "".join(path.read_text() for path in FOLDER.rglob("*.yaml"))


def test_every_role_runs_with_the_settings_that_it_needs(manifests: Sequence[Manifest]) -> None:
    [settings] = [told["data"] for name, told in of_kind(manifests, "ConfigMap").items() if "settings" in name]
    [secret] = [name for name in of_kind(manifests, "Secret") if name.startswith("application-manager-secrets")]
    for role, command in ROLES.items():
        _, spec = roles(manifests)[role]
        [container] = spec["containers"]
        assert container["args"] == [command]
        assert {source.get("secretRef", {}).get("name") for source in container["envFrom"]} - {None} == {secret}
    known = {name.upper() for name in Settings.model_fields}
    assert settings.keys() <= known
    assert not settings.keys() & {"SECRET_KEY", "EVENT_STORE", "RABBITMQ_URL"}
    assert PASSWORD not in str(settings)


def test_probes_tell_a_stuck_role_from_a_live_one(manifests: Sequence[Manifest]) -> None:
    for role, port in PORTS.items():
        _, spec = roles(manifests)[role]
        [container] = spec["containers"]
        assert container["ports"] == [{"name": "probes", "containerPort": port}]
        for probe, path in (("startup", "live"), ("liveness", "live"), ("readiness", "ready")):
            asked = container[f"{probe}Probe"]["httpGet"]
            assert asked == {"path": f"/health/{path}", "port": "probes"}, role
        alive = container["livenessProbe"]
        assert alive["periodSeconds"] * alive["failureThreshold"] >= STUCK_SECONDS, "not while one turn takes long"


def test_a_role_gets_the_time_that_it_was_promised_to_end(manifests: Sequence[Manifest]) -> None:
    [settings] = [told["data"] for name, told in of_kind(manifests, "ConfigMap").items() if "settings" in name]
    for role, (_, spec) in roles(manifests).items():
        hook = (
            spec["containers"][0].get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", 0])
        )
        needed = float(settings["SHUTDOWN_GRACE_SECONDS"]) + float(hook[1])
        assert spec["terminationGracePeriodSeconds"] >= needed + closing_seconds(), role


def test_memory_and_disk_are_enough_for_what_the_code_bounds_itself(manifests: Sequence[Manifest]) -> None:
    for role, needed in memory_needed().items():
        _, spec = roles(manifests)[role]
        limit = spec["containers"][0]["resources"]["limits"]["memory"]
        assert size(limit) >= needed, role
        [tmp] = [volume for volume in spec["volumes"] if volume["name"] == "tmp"]
        assert "medium" not in tmp["emptyDir"], "it would count as memory"
        assert role != "api" or size(tmp["emptyDir"]["sizeLimit"]) > excel_bytes()


def size(told: str) -> int:
    return int(told[:-2]) * {"Mi": 2**20, "Gi": 2**30}[told[-2:]]


def test_an_api_that_waits_for_its_event_store_is_not_started_anew_all_the_time(manifests: Sequence[Manifest]) -> None:
    for role, (_, spec) in roles(manifests).items():
        probe = spec["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] >= (600 if role == "api" else 60), role


def test_every_pod_is_restricted(manifests: Sequence[Manifest]) -> None:
    [namespace] = of_kind(manifests, "Namespace").values()
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for name, _, spec in pods(manifests):
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys(), name
            assert "memory" in container["resources"]["limits"], name


def test_our_pods_run_as_the_user_of_the_image_and_write_where_it_may(manifests: Sequence[Manifest]) -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    user = re.search(r"^USER (\d+)", dockerfile, re.MULTILINE)
    volume = re.search(r'^VOLUME \["(.+)"\]', dockerfile, re.MULTILINE)
    assert user
    assert volume
    for role, (_, spec) in roles(manifests).items():
        assert spec["securityContext"]["runAsUser"] == int(user[1]), role
        mounted = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"] if not mount.get("readOnly")}
        assert mounted == {volume[1], "/tmp", *([AUDIT] if role == "relay" else [])}, role


def test_relays_share_the_checkpoints_and_alone_have_a_key_that_stays(manifests: Sequence[Manifest]) -> None:
    [settings] = [told["data"] for name, told in of_kind(manifests, "ConfigMap").items() if "settings" in name]
    [secret] = [name for name in of_kind(manifests, "Secret") if name.startswith("audit-signing-key")]
    assert settings["AUDIT_CHECKPOINT_DIR"] == AUDIT
    [relays] = [told["spec"]["replicas"] for name, told in of_kind(manifests, "Deployment").items() if name == "relay"]
    [claim] = of_kind(manifests, "PersistentVolumeClaim").values()
    assert relays == 1 or claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for role, (_, spec) in roles(manifests).items():
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in spec["containers"][0]["volumeMounts"]}
        key = mounts.get(settings["AUDIT_SIGNING_KEY"].rpartition("/")[0])
        if role != "relay":
            assert (key, mounts.get(AUDIT)) == (None, None), role
            continue
        assert key is not None
        assert key["secret"]["secretName"] == secret
        assert key["secret"]["defaultMode"] & 0o007 == 0, "it is nobody else's"
        assert mounts[AUDIT]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


def test_one_pod_of_a_role_may_be_taken_at_a_time_and_they_are_spread(manifests: Sequence[Manifest]) -> None:
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert budgets.keys() == ROLES.keys()
    for role, (labels, spec) in roles(manifests).items():
        assert budgets[role]["spec"]["maxUnavailable"] == 1
        assert selects(budgets[role]["spec"]["selector"], labels)
        assert not any(
            selects(budgets[role]["spec"]["selector"], other)
            for name, (other, _) in roles(manifests).items()
            if name != role
        )
        keys = {constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]}
        assert keys == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        assert all(selects(constraint["labelSelector"], labels) for constraint in spec["topologySpreadConstraints"])


def test_services_and_ingress_lead_to_pods(manifests: Sequence[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    for name, service in services.items():
        [led_to] = [
            spec for _, labels, spec in pods(manifests) if service["spec"]["selector"].items() <= labels.items()
        ]
        named = {port["name"]: port["containerPort"] for port in led_to["containers"][0]["ports"]}
        for port in service["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            assert target in named or target in named.values(), name
    for ingress in of_kind(manifests, "Ingress").values():
        [rule] = ingress["spec"]["rules"]
        assert {rule["host"]} == {host for tls in ingress["spec"]["tls"] for host in tls["hosts"]}
        backend = rule["http"]["paths"][0]["backend"]["service"]
        assert backend["port"]["name"] in {port["name"] for port in services[backend["name"]]["spec"]["ports"]}


def test_nobody_outside_reads_the_metrics(production: Sequence[Manifest]) -> None:
    ingresses = of_kind(production, "Ingress")
    [paths] = [rule["http"]["paths"] for rule in ingresses["api-metrics"]["spec"]["rules"]]
    assert [(path["path"], path["pathType"]) for path in paths] == [("/metrics", "Prefix")]
    denied = ingresses["api-metrics"]["metadata"]["annotations"]["nginx.ingress.kubernetes.io/denylist-source-range"]
    assert denied == "0.0.0.0/0,::/0"
    assert ingresses["api-metrics"]["spec"]["rules"][0]["host"] == ingresses["api"]["spec"]["rules"][0]["host"]


def test_the_example_counts_the_connections_to_postgresql(production: Sequence[Manifest]) -> None:
    most = {name: told["spec"]["maxReplicas"] for name, told in of_kind(production, "HorizontalPodAutoscaler").items()}
    for name, told in of_kind(production, "Deployment").items():
        most.setdefault(name, told["spec"].get("replicas"))
    processes = sum(most.values()) + len(most)
    each = Settings.model_fields["event_store_pool_size"].default + 1
    example = (FOLDER / "overlays/production/secrets.env.example").read_text(encoding="utf-8")
    assert f"{processes} times {each} are {processes * each}" in example.replace("\n# ", " ")


# -- network ----------------------------------------------------------------------------------------------------------


def policies(manifests: Sequence[Manifest], labels: Manifest, direction: str) -> list[Any]:
    return [
        rule
        for policy in of_kind(manifests, "NetworkPolicy").values()
        if selects(policy["spec"]["podSelector"], labels) and direction.title() in policy["spec"]["policyTypes"]
        for rule in policy["spec"].get(direction, [])
    ]


def ports(rules: Sequence[Any]) -> set[int | str]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_what_is_not_needed_is_denied(manifests: Sequence[Manifest]) -> None:
    denied = of_kind(manifests, "NetworkPolicy")["default-deny"]["spec"]
    assert denied == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    every = [
        rule
        for policy in of_kind(manifests, "NetworkPolicy").values()
        for way in ("ingress", "egress")
        for rule in policy["spec"].get(way, [])
    ]
    assert all(rule.get("ports") and (rule.get("from") or rule.get("to")) for rule in every)


def test_each_role_reaches_what_it_uses_and_no_more(manifests: Sequence[Manifest]) -> None:
    local = "sandbox" in of_kind(manifests, "Deployment")
    mongodb, postgresql, rabbitmq, names, traces = {27017}, {5432}, {5671, 5672}, {53}, {4317}
    always = mongodb | postgresql | names | traces
    needed = {
        "api": always | rabbitmq,
        "relay": always | rabbitmq,
        "projector": always,
        "worker": always | rabbitmq | {443} | ({8019} if local else set()),
    }
    for role, (labels, _) in roles(manifests).items():
        assert ports(policies(manifests, labels, "egress")) == needed[role], role
        assert ports(policies(manifests, labels, "ingress")) == {"probes"}, role


def test_a_portal_is_never_inside(manifests: Sequence[Manifest]) -> None:
    outside = of_kind(manifests, "NetworkPolicy")["portals"]["spec"]["egress"]
    excepted = {network for rule in outside for to in rule["to"] for network in to["ipBlock"]["except"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= excepted


# -- autoscaling ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Manifest]:
    return rendered("production", tmp_path_factory.mktemp("scaled"))


def test_workers_are_as_many_as_messages_wait(production: Sequence[Manifest]) -> None:
    scaler = of_kind(production, "HorizontalPodAutoscaler")["worker"]["spec"]
    [wanted] = [metric["external"]["metric"] for metric in scaler["metrics"]]
    assert wanted["name"] == metrics.QUEUE_DEPTH.name
    default = Settings.model_fields["application_processing_queue"].default
    assert wanted["selector"]["matchLabels"] == dict.fromkeys(metrics.QUEUE_DEPTH.labels, default)
    [rule] = yaml.safe_load((FOLDER.parent / "monitoring/prometheus-adapter-rules.yaml").read_text())["externalRules"]
    assert rule["name"]["as"] == wanted["name"]
    assert rule["metricsQuery"].startswith("max by (queue_name)"), "every instance tells the same number"


def test_the_autoscaler_alone_says_how_many(production: Sequence[Manifest]) -> None:
    scaled = of_kind(production, "HorizontalPodAutoscaler")
    assert scaled.keys() == {"api", "worker"}
    for name, scaler in scaled.items():
        assert scaler["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert "replicas" not in of_kind(production, "Deployment")[name]["spec"]
        assert scaler["spec"]["minReplicas"] >= 2


def test_production_is_strict_and_names_its_image_by_a_version(production: Sequence[Manifest]) -> None:
    render = partial(of_kind, production)
    [settings] = [told["data"] for name, told in render("ConfigMap").items() if "settings" in name]
    assert Settings(environment=settings["ENVIRONMENT"], secret_key=SecretStr("k" * 40)).is_production
    for role, (_, spec) in roles(production).items():
        assert re.search(r":[\d.]+$", spec["containers"][0]["image"]), role


def test_what_configures_rabbitmq_is_the_same_in_compose() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert "./infra/deploy/kubernetes/components/stores/rabbitmq.conf:" in compose
    stores = (FOLDER / "components/stores/rabbitmq.yaml").read_text(encoding="utf-8")
    policy = re.compile(r"rabbitmqctl -q set_policy .+")
    assert policy.findall(compose) == policy.findall(stores) != []
