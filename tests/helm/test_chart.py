"""The chart renders what a cluster takes, keeps secrets out of sight, and refuses values that would not work."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import worker
from tests.support.helm import CHART, Helm, Object, Objects, Refused, containers
from worker.edges.settings_file import HINTS, file_name
from worker.edges.taxonomy import load_taxonomy
from worker.settings import Duration, Settings, TopicsSettings
from worker.stores import topic_specs

ROOT = CHART.parents[1]
MINIMAL = CHART / "ci" / "minimal-values.yaml"
MINORS = ("1.32", "1.34", "1.36", "1.37")
CUSTOM = {"PodMonitor", "ServiceMonitor", "PrometheusRule", "ScaledObject", "TriggerAuthentication", "KafkaTopic"}
"""Kinds that Kubernetes itself does not know."""
SECRETS = ("correct-horse-battery", "staple-correct-horse", "Y29ycmVjdC1ob3JzZS1jYQ==")
"""Those in the value sets."""
CHART_SETS = {
    "data.dir",
    "topics.prefix topics.partitions topics.replicas topics.minInsyncReplicas topics.rawRetention",
    "topics.duplicatesRetention topics.deadLetterRetention",
    "kafka.bootstrap kafka.securityProtocol kafka.saslMechanism kafka.user kafka.passwordFile kafka.caFile",
    "kafka.certFile kafka.keyFile kafka.insecurePlaintext kafka.groupPrefix kafka.transactionalIdPrefix",
    "seen.url seen.passwordFile seen.caFile seen.namespace",
    "poller.feeds poller.feedsUrl poller.feedsRefresh poller.feedsPrivate poller.feedsSource poller.shard",
    "worker.grace taxonomy.dir taxonomy.url taxonomy.refresh taxonomy.private http.host http.port log.format",
}
NOT_IN_A_CLUSTER = {"seen.singleMachine", "worker.workers"}


def own_pods(objects: Objects) -> dict[str, Object]:
    """Return the pods of our own image."""
    return {name: spec for name, spec in objects.pods().items() if not name.endswith("-valkey")}


def settings_of(objects: Objects) -> Any:
    (config,) = [each for each in objects.of("ConfigMap") if each["metadata"]["name"] in {"dateline", "desk"}]
    return yaml.safe_load(config["data"]["dateline.yaml"])


def test_lint_finds_nothing(helm: Helm, value_set: Path) -> None:
    ran = helm.run("lint", "--strict", str(CHART), "--values", str(value_set))
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("minor", MINORS)
def test_every_object_is_what_the_api_of_each_minor_wants(helm: Helm, value_set: Path, minor: str) -> None:
    objects = [each for each in helm.objects(value_set) if each["kind"] not in CUSTOM]
    for each in objects:
        kubernetes_validate.validate(each, minor, strict=True)


def test_what_the_api_does_not_want_would_be_noticed(helm: Helm) -> None:
    wrong = helm.objects(MINIMAL).one("StatefulSet", "-worker")
    wrong["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, MINORS[0], strict=True)


def test_every_pod_is_restricted(helm: Helm, value_set: Path) -> None:
    """As the Pod Security standard `restricted` asks, and with a root file system that nobody writes to."""
    for name, spec in helm.objects(value_set).pods().items():
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in containers([spec]):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False, name
            assert security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert "memory" in container["resources"]["limits"], name
            assert "cpu" not in container["resources"]["limits"], name
        assert not any("hostPath" in volume for volume in spec["volumes"]) if "volumes" in spec else True


def test_services_of_the_namespace_cannot_disturb_the_settings(helm: Helm, value_set: Path) -> None:
    """Service links would give each pod DATELINE_WORKER_PORT and the like, and unknown names are refused."""
    assert {spec["enableServiceLinks"] for spec in own_pods(helm.objects(value_set)).values()} == {False}


def test_both_workloads_have_three_probes_and_time_to_end(helm: Helm, value_set: Path) -> None:
    objects = helm.objects(value_set)
    for each in (*objects.of("StatefulSet", "-worker"), *objects.of("StatefulSet", "-poller")):
        spec = each["spec"]["template"]["spec"]
        (container,) = spec["containers"]
        paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}
        assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
        startup = container["startupProbe"]
        assert startup["periodSeconds"] * startup["failureThreshold"] >= 120
        grace = next(item["value"] for item in container["env"] if item["name"] == "DATELINE_WORKER_GRACE")
        assert Duration.parse(grace) == spec["terminationGracePeriodSeconds"]
        assert "lifecycle" not in container
        assert "command" not in container, "the image's entry point gets the signals"


def test_secrets_stand_in_secrets_only(helm: Helm, value_set: Path) -> None:
    for each in helm.objects(value_set):
        shown = json.dumps(each)
        if each["kind"] == "Secret":
            continue
        assert [secret for secret in SECRETS if secret in shown] == [], each["metadata"]["name"]
        assert "secretKeyRef" not in shown
        assert [b64 for secret in SECRETS if (b64 := base64.b64encode(secret.encode()).decode()) in shown] == []


def test_the_secrets_of_the_value_sets_are_rendered_at_all(helm: Helm) -> None:
    objects = helm.objects(CHART / "ci" / "scram-keda-values.yaml")
    secret = next(each for each in objects.of("Secret") if each["metadata"]["name"] == "dateline")
    held = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert held["kafka-password"] == SECRETS[0]
    assert held["seen-password"] == SECRETS[1]
    assert SECRETS[2] in held["kafka-ca.crt"]


def test_no_replicas_under_autoscaling(helm: Helm, value_set: Path) -> None:
    objects = helm.objects(value_set)
    scaled = bool(objects.of("HorizontalPodAutoscaler") or objects.of("ScaledObject"))
    assert scaled == ("keda" in value_set.name or "hpa" in value_set.name)
    assert ("replicas" in objects.one("StatefulSet", "-worker")["spec"]) is not scaled
    for each in (*objects.of("HorizontalPodAutoscaler"), *objects.of("ScaledObject")):
        assert each["spec"]["scaleTargetRef"]["name"] == objects.one("StatefulSet", "-worker")["metadata"]["name"]


def test_keda_asks_the_group_and_the_topic_of_the_workers(helm: Helm) -> None:
    objects = helm.objects(CHART / "ci" / "scram-keda-values.yaml")
    trigger = objects.one("ScaledObject")["spec"]["triggers"][0]["metadata"]
    assert (trigger["topic"], trigger["consumerGroup"]) == ("news.dateline.raw", "news.dateline.enrich")
    assert (trigger["sasl"], trigger["tls"]) == ("scram_sha256", "enable")
    told = objects.one("TriggerAuthentication")["spec"]["secretTargetRef"]
    held = {each["metadata"]["name"]: set(each["data"]) for each in objects.of("Secret")}
    assert {each["parameter"] for each in told} == {"username", "password", "ca"}
    assert [each for each in told if each["key"] not in held[each["name"]]] == []


def test_every_pod_has_a_policy_that_lets_it_reach_its_broker(helm: Helm, value_set: Path) -> None:
    """In a namespace that denies what is not allowed the job before the install has to work, too."""
    objects = helm.objects(value_set)
    policies = {
        each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/component"]: each
        for each in objects.of("NetworkPolicy")
    }
    if not policies:  # switched off in these values
        return
    made = {
        (each["spec"].get("template", each))["metadata"]["labels"]["app.kubernetes.io/component"]
        for each in objects
        if each["kind"] in {"StatefulSet", "Job", "Pod"}
    }
    assert made == policies.keys()
    for component, policy in policies.items():
        ports = {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]}
        assert component == "valkey" or 53 in ports
        assert ("annotations" in policy["metadata"]) == (component == "topics")


def test_each_volume_is_mounted_and_each_mount_has_its_volume(helm: Helm, value_set: Path) -> None:
    for name, spec in helm.objects(value_set).pods().items():
        volumes = {volume["name"] for volume in spec.get("volumes", ())}
        mounts = {mount["name"] for each in containers([spec]) for mount in each.get("volumeMounts", ())}
        assert volumes == mounts, name


def test_what_the_chart_mounts_of_its_own_it_renders(helm: Helm, value_set: Path) -> None:
    """The job that runs before the rest mounts only what comes before it."""
    objects = helm.objects(value_set)
    given = yaml.safe_load(value_set.read_text("utf-8"))

    def hook(each: Object) -> bool:
        return "helm.sh/hook" in each["metadata"].get("annotations", {})

    made: dict[bool, set[str]] = {True: set(), False: set()}
    for each in (*objects.of("ConfigMap"), *objects.of("Secret")):
        made[hook(each)].add(each["metadata"]["name"])
    text = json.dumps(given)
    for name, spec in objects.pods().items():
        before = name.startswith("Job/")
        for volume in spec.get("volumes", ()):
            parts = [volume, *volume.get("projected", {}).get("sources", ())]
            names = [each["configMap"]["name"] for each in parts if "configMap" in each]
            names += [each["secret"].get("name") or each["secret"]["secretName"] for each in parts if "secret" in each]
            strange = [each for each in names if each not in made[before] and f'"{each}"' not in text]
            assert strange == [], (name, volume)


def test_a_change_restarts_only_the_pods_that_it_concerns(helm: Helm) -> None:
    def templates(values: dict[str, Any]) -> dict[str, Any]:
        objects = helm.objects(MINIMAL, values=values)
        return {name: objects.one("StatefulSet", name)["spec"]["template"] for name in ("-poller", "-worker")}

    def changed(values: dict[str, Any]) -> set[str]:
        before, after = templates({}), templates(values)
        return {name for name in before if before[name] != after[name]}

    assert changed({"feeds": {"inline": "feeds: [https://example.org/other.xml]\n"}}) == {"-poller"}
    assert changed({"taxonomy": {"files": {"routes.yaml": "routes: []\n"}}}) == {"-worker"}
    assert changed({"config": {"log": {"level": "debug"}}}) == {"-poller", "-worker"}
    assert changed({"worker": {"replicas": 5}}) == set()
    assert changed({"metrics": {"podMonitor": {"enabled": True}}}) == set()


def test_a_newer_chart_restarts_nothing_by_itself_and_changes_nothing_that_cannot_change(
    helm: Helm, value_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(CHART, tmp_path / "newer")
    meta = tmp_path / "newer" / "Chart.yaml"
    meta.write_text(meta.read_text("utf-8").replace("version: 0.1.0", "version: 0.9.0", 1), "utf-8")
    before, after = helm.objects(value_set), helm.objects(value_set, chart=tmp_path / "newer")
    assert before != after
    for old in before.of("StatefulSet"):
        new = next(each for each in after.of("StatefulSet") if each["metadata"]["name"] == old["metadata"]["name"])
        assert new["spec"] == old["spec"]
    for kind in ("Service", "PersistentVolumeClaim"):
        assert [each["spec"] for each in before.of(kind)] == [each["spec"] for each in after.of(kind)]


def test_no_selector_has_a_label_that_values_or_versions_change(helm: Helm, value_set: Path) -> None:
    for each in helm.objects(value_set).of("StatefulSet"):
        selector = each["spec"]["selector"]["matchLabels"]
        assert set(selector) == {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")}
        assert selector.items() <= each["spec"]["template"]["metadata"]["labels"].items()
        assert "volumeClaimTemplates" not in each["spec"]


@pytest.mark.parametrize(
    ("one", "other"),
    [(("dateline", "news"), ("dateline", "wire")), (("a", "news"), ("b", "news")), (("b-c", "a"), ("c", "a-b"))],
)
def test_two_releases_share_no_name(helm: Helm, one: tuple[str, str], other: tuple[str, str]) -> None:
    def names(release: str, namespace: str) -> set[str]:
        objects = helm.objects(MINIMAL, release=release, namespace=namespace)
        config = next(each for each in objects.of("ConfigMap") if "dateline.yaml" in each["data"])
        settings = yaml.safe_load(config["data"]["dateline.yaml"])
        kafka = settings["kafka"]
        return {
            settings["topics"]["prefix"],
            kafka["groupPrefix"],
            kafka["transactionalIdPrefix"],
            settings["seen"]["namespace"],
        }

    assert not names(*one) & names(*other)


def test_the_poller_reaches_no_private_network_and_the_worker_no_feed(helm: Helm) -> None:
    objects = helm.objects(MINIMAL)

    def ports(rules: list[Object]) -> set[int]:
        return {port["port"] for rule in rules for port in rule["ports"]}

    poller = objects.one("NetworkPolicy", "-poller")["spec"]["egress"]
    web = [rule for rule in poller if 443 in ports([rule])]
    assert {block["ipBlock"]["cidr"] for rule in web for block in rule["to"]} == {"0.0.0.0/0", "2000::/3"}
    excepted = {net for rule in web for block in rule["to"] for net in block["ipBlock"]["except"]}
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8"} <= excepted
    assert ports(objects.one("NetworkPolicy", "-worker")["spec"]["egress"]) == {53, 9092, 6379}


def test_ports_of_brokers_and_store_are_those_of_their_addresses(helm: Helm) -> None:
    objects = helm.objects(CHART / "ci" / "all-on-values.yaml")
    rules = objects.one("NetworkPolicy", "-worker")["spec"]["egress"]
    assert {port["port"] for rule in rules for port in rule["ports"]} == {53, 9093, 9094, 6380}


def test_strimzi_makes_the_topics_that_the_program_would(helm: Helm) -> None:
    given = CHART / "ci" / "strimzi-values.yaml"
    made = {each["spec"]["topicName"]: each for each in helm.objects(given).of("KafkaTopic")}
    shape = TopicsSettings(prefix="news.dateline.", partitions=6, raw_retention=Duration.parse("36h"))
    specs = topic_specs(Settings(topics=shape), ["china-dprk", "sanctions", "fisheries"])
    assert made.keys() == {spec.name for spec in specs}
    for spec in specs:
        topic = made[spec.name]
        assert topic["metadata"]["namespace"] == "kafka"
        assert topic["metadata"]["labels"]["strimzi.io/cluster"] == "cluster"
        assert topic["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        config = topic["spec"]["config"]
        assert (topic["spec"]["partitions"], topic["spec"]["replicas"]) == (spec.partitions, 3)
        assert topic["spec"]["config"]["min.insync.replicas"] == 2
        assert config["cleanup.policy"] == ("compact" if spec.compacted else "delete")
        assert config["retention.ms"] == (-1 if spec.retention_ms is None else spec.retention_ms)
        assert config.get("min.compaction.lag.ms", 0) == spec.min_compaction_lag_ms
        assert config["max.message.bytes"] == spec.max_message_bytes


def test_the_default_routes_are_those_of_the_shipped_taxonomy() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))
    assert values["topics"]["routes"] == [route.topic for route in load_taxonomy().routes]


def test_each_setting_is_a_value_or_made_by_the_chart() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    config = schema["properties"]["config"]["properties"]
    values = {f"{section}.{name}" for section, part in config.items() for name in part["properties"]}
    settings = {f"{section}.{file_name(name)}" for section, name in HINTS}
    made = set(" ".join(CHART_SETS).split()) & settings  # an older program may not have all of them yet
    assert values.isdisjoint(made)
    assert settings - values - made == NOT_IN_A_CLUSTER
    assert values <= settings


def test_the_rendered_settings_are_all_known(helm: Helm, value_set: Path) -> None:
    known = {f"{section}.{file_name(name)}" for section, name in HINTS}
    rendered = settings_of(helm.objects(value_set))
    named = {f"{section}.{name}" for section, part in rendered.items() for name in part}
    assert named <= known


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"kafka": {"bootsrap": "kafka:9092"}}, "bootsrap"),
        ({"kafka": {"bootstrap": ""}}, "kafka.bootstrap is needed"),
        ({"kafka": {"bootstrap": "kafka"}}, "bootstrap"),
        ({"kafka": {"securityProtocol": "TLS"}}, "securityProtocol"),
        ({"kafka": {"securityProtocol": "SASL_SSL"}}, "kafka.sasl.user is needed"),
        ({"kafka": {"securityProtocol": "SASL_SSL", "sasl": {"user": "a"}}}, "existingSecret is needed"),
        ({"kafka": {"tls": {"cert": "-----BEGIN CERTIFICATE-----"}}}, "needed together"),
        ({"kafka": {"tls": {"ca": "ca.pem"}}}, "/kafka/tls/ca"),
        ({"seen": {"url": ""}}, "seen.url is needed"),
        ({"seen": {"url": "redis://user:password@valkey:6379"}}, "/seen/url"),
        ({"feeds": {"inline": ""}}, "Give the feed list one way"),
        ({"feeds": {"url": "https://example.org/feeds.yaml"}}, "Give the feed list one way"),
        ({"feeds": {"inline": "x" * 512_001}}, "has 512001 bytes"),
        ({"feeds": {"inline": "한" * 170_700}}, "has 512100 bytes"),
        ({"feeds": {"inline": "", "url": "ftp://example.org/feeds.yaml"}}, "/feeds/url"),
        ({"taxonomy": {"files": {"../routes.yaml": ""}}}, "'../routes.yaml' does not match"),
        ({"taxonomy": {"url": "https://example.org/r.tar.gz", "existingConfigMap": "a"}}, "taxonomy one way"),
        ({"autoscaling": {"hpa": {"enabled": True}, "keda": {"enabled": True}}}, "/autoscaling"),
        ({"autoscaling": {"minReplicas": 0}}, "minReplicas"),
        ({"autoscaling": {"minReplicas": 13}}, "minReplicas is above"),
        ({"autoscaling": {"keda": {"enabled": True}, "maxReplicas": 13}}, "13 workers cannot share 12 partitions"),
        ({"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "/metrics"),
        ({"worker": {"replicas": 13}}, "13 workers cannot share 12 partitions"),
        ({"worker": {"replicas": "2"}}, "/worker/replicas"),
        ({"worker": {"terminationGracePeriodSeconds": 5}}, "terminationGracePeriodSeconds"),
        ({"worker": {"resources": {"limit": {"memory": "1Gi"}}}}, "limit"),
        ({"topics": {"mode": "operator"}}, "/topics/mode"),
        ({"topics": {"mode": "strimzi"}}, "topics.strimzi.cluster is needed"),
        ({"topics": {"rawRetention": "a week"}}, "rawRetention"),
        ({"config": {"kafka": {"groupPrefix": "a."}}}, "groupPrefix"),
        ({"config": {"worker": {"batchMax": 6000}}}, "batchMax"),
        ({"image": {"repository": "dateline:latest"}}, "/image/repository"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"extraCA": {"existingConfigMap": "a", "existingSecret": "b"}}, "/extraCA"),
        ({"http": {"port": 80}}, "/http/port"),
        ({"prefix": "a/b"}, "/prefix"),
    ],
)
def test_values_that_would_not_work_are_refused(helm: Helm, values: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused) as caught:
        helm.template(MINIMAL, values=values)
    assert said in str(caught.value)


def test_half_a_mebibyte_of_feeds_less_a_bit_is_taken(helm: Helm) -> None:
    assert helm.objects(MINIMAL, values={"feeds": {"inline": "# " + "x" * 511_998}}).of("ConfigMap", "-feeds")


def test_the_schema_is_closed_and_knows_exactly_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text("utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text("utf-8"))

    def compare(node: Any, value: Any, name: str) -> None:
        node = schema["definitions"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        if "properties" not in node:
            return
        assert node["additionalProperties"] is False, name
        for key in value:
            assert key in node["properties"], f"{name}.{key}"
            if isinstance(value[key], dict):
                compare(node["properties"][key], value[key], f"{name}.{key}")
        if not name.startswith(".config.") and not name.endswith(".resources"):
            assert set(node["properties"]) - {"global"} == set(value), name

    compare(schema, values, "")


def test_the_monitors_select_both_workloads_and_the_port_by_name(helm: Helm) -> None:
    objects = helm.objects(CHART / "ci" / "all-on-values.yaml")
    monitor = objects.one("PodMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    selector = monitor["spec"]["selector"]
    for name in ("-poller", "-worker"):
        template = objects.one("StatefulSet", name)["spec"]["template"]
        assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
        assert (
            template["metadata"]["labels"]["app.kubernetes.io/component"] in selector["matchExpressions"][0]["values"]
        )
        ports = [port["name"] for each in template["spec"]["containers"] for port in each["ports"]]
        assert monitor["spec"]["podMetricsEndpoints"][0]["port"] in ports


def test_rules_and_dashboards_are_rendered_as_they_are(helm: Helm) -> None:
    objects = helm.objects(CHART / "ci" / "all-on-values.yaml")
    rules = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in (CHART / "files/rules").glob("*.yaml")}
    boards = {path.name: json.loads(path.read_text("utf-8")) for path in (CHART / "files/dashboards").glob("*.json")}
    shown = {each["metadata"]["name"].removeprefix("dateline-"): each["spec"] for each in objects.of("PrometheusRule")}
    assert shown == rules
    maps = [each for each in objects.of("ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]]
    assert {name: json.loads(text) for each in maps for name, text in each["data"].items()} == boards
    assert {each["metadata"]["labels"]["grafana_dashboard"] for each in maps} <= {"1"}


def test_readme_and_copies_are_fresh() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "chart"), "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_every_value_is_explained() -> None:
    table = (CHART / "README.md").read_text("utf-8").partition("## Values")[2]
    rows = re.findall(r"^\| `([\w.]+)` \| .* \| (.*) \|$", table, re.MULTILINE)
    assert len(rows) > 100
    assert [name for name, meaning in rows if not meaning] == []


def test_chart_image_and_program_have_one_version() -> None:
    meta = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert meta["appVersion"] == worker.__version__
    assert f"ARG VERSION={worker.__version__}\n" in (ROOT / "deploy" / "Dockerfile").read_text("utf-8")


def test_the_package_holds_what_the_chart_needs(helm: Helm, tmp_path: Path) -> None:
    ran = helm.run("package", str(CHART), "--destination", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    (package,) = tmp_path.glob("*.tgz")
    whole = CHART / "ci" / "all-on-values.yaml"
    assert helm.template(whole, chart=package) == helm.template(whole)


def test_the_notes_name_the_next_command(helm: Helm, tmp_path: Path) -> None:
    """Helm shows notes only when it installs; so they are rendered here as a text in an object."""
    chart = tmp_path / "dateline"
    shutil.copytree(CHART, chart)
    text = (chart / "templates" / "NOTES.txt").read_text("utf-8")
    wrapped = (
        '{{- define "notes" -}}'
        + text
        + '{{- end -}}kind: Notes\nmetadata: {name: notes}\ntext: {{ include "notes" . | toJson }}\n'
    )
    (chart / "templates" / "notes.yaml").write_text(wrapped, "utf-8")
    notes = helm.objects(MINIMAL, chart=chart).one("Notes")["text"]
    assert "helm -n news test dateline" in notes
    assert "rollout status statefulset/dateline-worker" in notes
