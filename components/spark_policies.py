"""Admission policies for Spark: what a pod must be where executors are, and what for them the hub may make.

Roles say who may make which kinds of objects; these look at the objects. Kubernetes asks them for each one.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from components import spark_networks, spark_standalone, spark_yarn
from components.policies import HUB_NAMESPACE, SESSIONS_NAMESPACE
from components.spark_config import SparkConfig

PREFIX = "spark-"
UID_LABEL = "cygnet.io/uid"
USERNAME_LABEL = "hub.jupyter.org/username"
"""Of a session, by the hub's spawner."""
GROUP_ID = 100
"""Of all users of sessions; the hub says the same."""
FOLDERS = ("/cvmfs", "/eos")
_HUB = f"system:serviceaccount:{HUB_NAMESPACE}:hub"
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""What Kubernetes itself lets every pod tolerate for a while."""
_ANY_PORT = "any"


def _rule(group: str, resources: Sequence[str], operations: Sequence[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "apiVersions": ["v1"], "operations": list(operations), "resources": list(resources)}


def _validations(texts: Mapping[str, str]) -> list[dict[str, str]]:
    """Expressions by what is told when they are false.

    Where one has `dyn`, Kubernetes' checker does not know a field: of another kind, or `limits`. It would only warn.
    """
    return [{"expression": " ".join(expression.split()), "message": message} for message, expression in texts.items()]


def executor_policy(image: str) -> dict[str, Any]:
    """What a pod must be where executors are, beyond what Kubernetes' level `restricted` says.

    The level keeps out privileges, folders of the machine, its network and its ports. This keeps a pod to the image of
    sessions, to its user's number, which is all that protects homes, and to an end that its user cannot put off.
    """
    image = json.dumps(image)
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [_rule("", ["pods"], ["CREATE"])]},
        "validations": _validations(
            {
                "an executor is one container, of the image of sessions": f"""
                    size(object.spec.containers) == 1 && object.spec.containers[0].image == {image} &&
                    (!has(object.spec.initContainers) || size(object.spec.initContainers) == 0) &&
                    (!has(object.spec.ephemeralContainers) || size(object.spec.ephemeralContainers) == 0)""",
                "an executor runs as its user": f"""
                    has(object.spec.securityContext) && has(object.spec.securityContext.runAsUser) &&
                    string(object.spec.securityContext.runAsUser) == namespaceObject.metadata.labels['{UID_LABEL}'] &&
                    has(object.spec.securityContext.runAsGroup) &&
                    object.spec.securityContext.runAsGroup == {GROUP_ID} &&
                    (!has(object.spec.securityContext.fsGroup) ||
                        object.spec.securityContext.fsGroup == {GROUP_ID}) &&
                    (!has(object.spec.securityContext.supplementalGroups) ||
                        size(object.spec.securityContext.supplementalGroups) == 0) &&
                    object.spec.containers.all(c, has(c.securityContext) &&
                        !has(c.securityContext.runAsUser) && !has(c.securityContext.runAsGroup))""",
                "an executor has volumes of its namespace only, and cannot write to software": """
                    !has(object.spec.volumes) || object.spec.volumes.all(v, has(v.emptyDir) || has(v.secret) ||
                        (has(v.persistentVolumeClaim) && (v.persistentVolumeClaim.claimName == 'eos' ||
                            (v.persistentVolumeClaim.claimName == 'cvmfs' &&
                                has(v.persistentVolumeClaim.readOnly) && v.persistentVolumeClaim.readOnly))))""",
                "an executor has no account of Kubernetes": """
                    has(object.spec.automountServiceAccountToken) && !object.spec.automountServiceAccountToken &&
                    (!has(object.spec.serviceAccountName) || object.spec.serviceAccountName == 'default')""",
                "Kubernetes chooses an executor's machine, among those of sessions": f"""
                    !has(object.spec.nodeName) &&
                    (!has(object.spec.schedulerName) || object.spec.schedulerName == 'default-scheduler') &&
                    (!has(object.spec.priorityClassName) || object.spec.priorityClassName == '') &&
                    (!has(object.spec.tolerations) || object.spec.tolerations.all(t, has(t.key) &&
                        t.key in {json.dumps(_TOLERATED)}))""",
                "an executor ends when it is told to": """
                    (!has(object.metadata.finalizers) || size(object.metadata.finalizers) == 0) &&
                    has(object.spec.terminationGracePeriodSeconds) &&
                    object.spec.terminationGracePeriodSeconds <= 30""",
                "an executor writes within its limits": """
                    dyn(object.spec.containers).all(c, has(c.securityContext) &&
                        has(c.securityContext.readOnlyRootFilesystem) && c.securityContext.readOnlyRootFilesystem &&
                        has(c.resources) && has(c.resources.limits) && 'ephemeral-storage' in c.resources.limits &&
                        c.terminationMessagePath == '/root/termination-log')""",
            }
        ),
    }


def hub_policy(config: SparkConfig, *, api_servers: Sequence[str], api_port: int) -> dict[str, Any]:
    """What of all that its role says the hub may make and remove; a hub that was taken over does no more.

    Args:
        config: What the stack says.
        api_servers: Addresses of Kubernetes' API, as policies see them.
        api_port: TCP, likewise.
    """
    of_executors = list(spark_networks.ways(config.open_networks))
    of_sessions = [
        *of_executors,
        *(f"{address}/32 {api_port}" for address in api_servers),
        *(f"{network} {_ANY_PORT}" for yarn in config.yarn.values() for network in yarn.networks),
    ]
    opened = f"""
        request.resource.resource != 'networkpolicies' || !has(dyn(object).spec.egress) ||
        dyn(object).spec.egress.all(rule, has(rule.to) && size(rule.to) > 0 && rule.to.all(peer,
            !has(peer.ipBlock) || (has(rule.ports) && size(rule.ports) > 0 && rule.ports.all(port,
                port.protocol == 'TCP' && !has(port.endPort) &&
                peer.ipBlock.cidr + ' ' + (has(port.port) ? string(port.port) : '{_ANY_PORT}') in
                    (request.namespace == '{SESSIONS_NAMESPACE}' ?
                        {json.dumps(of_sessions)} : {json.dumps(of_executors)})))))"""
    validations = [*_HUB_POLICY["validations"], *_validations({"the hub opens ways to what the stack names": opened})]
    return {**_HUB_POLICY, "validations": validations}


_HUB_POLICY: dict[str, Any] = {
    "failurePolicy": "Fail",
    "matchConstraints": {
        "resourceRules": [
            _rule("", ["namespaces", "persistentvolumes"], ["CREATE", "UPDATE", "DELETE"]),
            _rule("", ["serviceaccounts", "secrets", "persistentvolumeclaims", "resourcequotas"], ["CREATE", "UPDATE"]),
            _rule("", ["services"], ["CREATE", "UPDATE"]),
            _rule("networking.k8s.io", ["networkpolicies"], ["CREATE", "UPDATE"]),
            _rule("rbac.authorization.k8s.io", ["rolebindings"], ["CREATE", "UPDATE"]),
        ]
    },
    "matchConditions": [{"name": "is-the-hub", "expression": f"request.userInfo.username == '{_HUB}'"}],
    "validations": _validations(
        {
            "the hub makes namespaces for executors only, of the level restricted": f"""
                request.resource.resource != 'namespaces' || request.operation == 'DELETE' ||
                (object.metadata.name.startsWith('{PREFIX}') && has(object.metadata.labels) &&
                    {json.dumps(UID_LABEL)} in object.metadata.labels &&
                    'cygnet.io/part' in object.metadata.labels &&
                    object.metadata.labels['cygnet.io/part'] == 'spark' &&
                    'pod-security.kubernetes.io/enforce' in object.metadata.labels &&
                    object.metadata.labels['pod-security.kubernetes.io/enforce'] == 'restricted')""",
            "the hub removes what is for executors only": f"""
                request.operation != 'DELETE' || oldObject.metadata.name.startsWith('{PREFIX}')""",
            "the hub makes volumes of software and homes only, for executors": f"""
                request.resource.resource != 'persistentvolumes' || request.operation == 'DELETE' ||
                (object.metadata.name.startsWith('{PREFIX}') && has(dyn(object).spec.hostPath) &&
                    dyn(object).spec.hostPath.path in {json.dumps(FOLDERS)} && has(dyn(object).spec.claimRef) &&
                    dyn(object).spec.claimRef.namespace.startsWith('{PREFIX}'))""",
            "the hub makes these where executors or sessions are only": f"""
                request.resource.resource in ['namespaces', 'persistentvolumes'] ||
                request.namespace.startsWith('{PREFIX}') ||
                (request.namespace == '{SESSIONS_NAMESPACE}' && request.resource.resource in
                    ['serviceaccounts', 'secrets', 'services', 'persistentvolumeclaims', 'networkpolicies'])""",
            "the hub makes ways from outside to sessions of a cluster only, by ports of their own node": f"""
                request.resource.resource != 'services' ||
                (dyn(object).spec.type == 'NodePort' && dyn(object).spec.externalTrafficPolicy == 'Local' &&
                    !has(dyn(object).spec.externalIPs) && has(dyn(object).spec.selector) &&
                    {json.dumps(spark_standalone.CLUSTER_LABEL)} in dyn(object).spec.selector &&
                    '{USERNAME_LABEL}' in dyn(object).spec.selector &&
                    dyn(object).spec.ports.all(p, p.nodePort >= {spark_yarn.NODE_PORTS[0]} &&
                        p.targetPort == p.nodePort))""",
        }
    ),
}
"""What does not depend on a stack."""
