"""Who may do what in the cluster: rights that are given, and policies that refuse what rights cannot tell apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

_API_GROUP = "rbac.authorization.k8s.io"

Rules = Sequence[Mapping[str, Any]]


def service_account(name: str, namespace: pulumi.Input[str]) -> dict[str, Any]:
    """Pods with this account, as those whom something is granted to."""
    return {"kind": "ServiceAccount", "name": name, "namespace": namespace}


def group(name: str) -> dict[str, Any]:
    """Whoever Kubernetes counts among them, as those whom something is granted to."""
    return {"apiGroup": _API_GROUP, "kind": "Group", "name": name}


def grant(
    name: str, metadata: Mapping[str, Any], rules: Rules, subject: Mapping[str, Any], opts: pulumi.ResourceOptions
) -> pulumi.CustomResource:
    """Gives rights.

    Args:
        name: Of the resources.
        metadata: Of the role and its binding; in the namespace that it names, else in all of the cluster.
        rules: What is granted, as Kubernetes' roles say it.
        subject: To whom: `service_account` or `group`.
        opts: Of the resources.

    Returns:
        What is made last.
    """
    rbac = k8s.rbac.v1
    kind, role_of, binding_of = (
        ("Role", rbac.Role, rbac.RoleBinding)
        if "namespace" in metadata
        else ("ClusterRole", rbac.ClusterRole, rbac.ClusterRoleBinding)
    )
    role = role_of(name, metadata=metadata, rules=rules, opts=opts)
    ref = {"apiGroup": _API_GROUP, "kind": kind, "name": role.metadata["name"]}
    return binding_of(name, metadata=metadata, role_ref=ref, subjects=[subject], opts=opts)


def deny(
    name: str,
    metadata: Mapping[str, Any],
    policy: pulumi.Input[Mapping[str, Any]],
    opts: pulumi.ResourceOptions,
    *,
    namespaces: Mapping[str, Any] | None = None,
) -> pulumi.ResourceOptions:
    """Has Kubernetes refuse what an admission policy does not let pass.

    Args:
        name: Of the resources.
        metadata: Of the policy and its binding.
        policy: What it looks at and lets pass: a ValidatingAdmissionPolicy's spec.
        opts: Of the resources.
        namespaces: The selector of those it holds in; none: everywhere.

    Returns:
        Options of what may be granted only once this holds.
    """
    made = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(name, metadata=metadata, spec=policy, opts=opts)
    bound = k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
        name,
        metadata=metadata,
        spec={
            "policyName": made.metadata["name"],
            "validationActions": ["Deny"],
            **({"matchResources": {"namespaceSelector": namespaces}} if namespaces else {}),
        },
        opts=opts,
    )
    return pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[bound]))
