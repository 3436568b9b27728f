"""The table of recipes, in the order in which they are obtained: first what takes longest to be missed."""

from __future__ import annotations

from engine import names
from engine.golang import Edit, Take
from engine.kinds import CargoBuild, CBuild, CxxBuild, GoBuild, Recipe

_VERSION = ("--version",)
_KUBERNETES_STAMPS = {
    f"{package}.{variable}": value
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    for variable, value in {
        "gitVersion": "v{version}",
        "gitMajor": "{major}",
        "gitMinor": "{minor}",
        "gitTreeState": "archive",
        "gitCommit": "",
    }.items()
}

_ALL: tuple[Recipe, ...] = (
    GoBuild(
        tool="kubernetes",
        module="k8s.io/kubernetes",
        binaries=(
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
            "kubeadm",
            "kubectl",
            "kubelet",
        ),
        stamps=_KUBERNETES_STAMPS,
        asks={
            "kube-apiserver": _VERSION,
            "kube-controller-manager": _VERSION,
            "kube-proxy": _VERSION,
            "kube-scheduler": _VERSION,
            "kubeadm": ("version", "-o", "short"),
            "kubectl": ("version", "--client"),
            "kubelet": _VERSION,
        },
    ),
    GoBuild(
        tool="containerd",
        module="github.com/containerd/containerd/v2",
        binaries=("containerd", "containerd-shim-runc-v2", "ctr"),
        stamps={"github.com/containerd/containerd/v2/version.Version": "v{version}"},
        tags=("no_btrfs", "no_devmapper", "no_zfs"),  # snapshotters that nobody here uses
        asks={"containerd": _VERSION, "containerd-shim-runc-v2": ("-v",), "ctr": _VERSION},
    ),
    GoBuild(
        tool="etcd",
        module="go.etcd.io/etcd/server/v3",
        binaries=("etcd", "etcdctl", "etcdutl"),
        called={"etcd": "server"},
        asks={"etcd": _VERSION, "etcdctl": ("version",), "etcdutl": ("version",)},
    ),
    GoBuild(
        tool="crictl",
        module="sigs.k8s.io/cri-tools",
        binaries=("crictl",),
        stamps={"sigs.k8s.io/cri-tools/pkg/version.Version": "v{version}"},
        asks={"crictl": _VERSION},
    ),
    GoBuild(
        tool="cni-plugins",
        module="github.com/containernetworking/plugins",
        binaries=("bandwidth", "bridge", "firewall", "host-device", "host-local", "loopback", "portmap", "tuning"),
        stamps={"github.com/containernetworking/plugins/pkg/utils/buildversion.BuildVersion": "v{version}"},
    ),
    GoBuild(
        tool="flannel",
        module="github.com/flannel-io/flannel",
        binaries=("flanneld",),
        called={"flanneld": "flannel"},
        package=".",
        stamps={"github.com/flannel-io/flannel/pkg/version.Version": "v{version}"},
        takes=(
            Take(
                "github.com/flannel-io/flannel",
                ("main.go",),
                edits=(
                    # The SDK of this cloud is not published in the version that flannel asks for.
                    Edit("main.go", r'^\t_ ".*/pkg/backend/tencentvpc"\n', ""),
                    # Needs a C compiler; upstream calls it "for debugging only".
                    Edit("main.go", r'^\t_ ".*/pkg/backend/udp"\n', ""),
                ),
            ),
        ),
    ),
    CBuild(tool="pause", binaries=("pause",)),
    GoBuild(
        tool="pulumi",
        module="github.com/pulumi/pulumi/pkg/v3",
        # As in the official archive, all in one folder: the CLI finds the others beside itself.
        binaries=(
            "pulumi",
            "pulumi-language-python",
            "pulumi-language-python-exec",
            "pulumi-resource-pulumi-python",
        ),
        nested=("language-python",),
        stamps={"github.com/pulumi/pulumi/sdk/v3/go/common/version.Version": "v{version}"},
        tags=("osusergo", "grpcnotrace"),  # upstream's own
        takes=(
            Take(
                "github.com/pulumi/pulumi/sdk/v3",
                ("python/cmd/pulumi-language-python-exec", "python/dist/pulumi-resource-pulumi-python"),
                target="../bin",
            ),
        ),
        asks={"pulumi": ("version",)},
    ),
    GoBuild(
        tool="coredns",
        module="github.com/coredns/coredns",
        binaries=("coredns",),
        asks={"coredns": ("-version",)},
    ),
    GoBuild(
        tool="kube-network-policies",
        module="sigs.k8s.io/kube-network-policies",
        binaries=("kube-network-policies",),
        called={"kube-network-policies": "standard"},
        takes=(
            # CYGNET_NFQUEUE_XT=1 makes it work on kernels without nft_queue: nftables/expr/queue_xt.go beside go.mod.
            Take(
                "github.com/google/nftables@v0.3.0",
                target="nftables",
                edits=(Edit("expr/queue.go", r"^func \(e \*Queue\) marshal\(", "func (e *Queue) marshalQueue("),),
            ),
        ),
    ),
    GoBuild(
        tool="kube-state-metrics",
        module="k8s.io/kube-state-metrics/v2",
        binaries=("kube-state-metrics",),
        stamps={"github.com/prometheus/common/version.Version": "v{version}"},
        asks={"kube-state-metrics": ("version",)},
    ),
    GoBuild(
        tool="nvidia-device-plugin",
        module="github.com/NVIDIA/k8s-device-plugin",
        binaries=("nvidia-device-plugin", "nvidia-cdi-hook", "nvidia-mig-parted"),
        stamps={"github.com/NVIDIA/k8s-device-plugin/internal/info.version": "v{version}"},
        with_c=True,  # the driver's own library
        asks={"nvidia-device-plugin": _VERSION},
        on_demand=True,
    ),
    GoBuild(
        tool="shared-folder-provisioner",
        binaries=("shared-folder-provisioner",),
        package=".",
        stamps={"main.version": "{version}"},
    ),
    GoBuild(
        tool="caddy",
        module="github.com/caddyserver/caddy/v2",
        binaries=("caddy",),
        stamps={"github.com/caddyserver/caddy/v2.CustomVersion": "v{version}"},
        asks={"caddy": ("version",)},
    ),
    GoBuild(
        tool="pebble",
        module="github.com/letsencrypt/pebble/v2",
        binaries=("pebble", "pebble-challtestsrv"),
        on_demand=True,
    ),
    GoBuild(
        tool="kwok",
        module="sigs.k8s.io/kwok",
        binaries=("kwok",),
        asks={"kwok": _VERSION},
        on_demand=True,
    ),
    GoBuild(
        tool="opentofu",
        module="github.com/opentofu/opentofu",
        binaries=("tofu",),
        stamps={"github.com/opentofu/opentofu/version.dev": "no"},
        asks={"tofu": ("version",)},
        on_demand=True,
    ),
    GoBuild(
        tool="terraform-provider-openstack",
        module="github.com/terraform-provider-openstack/terraform-provider-openstack",
        binaries=("terraform-provider-openstack",),
        on_demand=True,
    ),
    GoBuild(
        tool="pulumi-resource-kubernetes",
        version_key="pulumi_kubernetes",
        module="github.com/pulumi/pulumi-kubernetes/sdk/v4",
        binaries=("pulumi-resource-kubernetes",),
        package=".",
        stamps={"main.version": "{version}"},
        takes=(
            Take(
                "github.com/pulumi/pulumi-kubernetes/provider/v4",
                (
                    "cmd/pulumi-resource-kubernetes/schema.json",
                    "cmd/pulumi-resource-kubernetes/terraform-mapping.json",
                ),
            ),
        ),
        comes_with="pulumi",
    ),
    GoBuild(
        tool="pulumi-resource-openstack",
        version_key="pulumi_openstack",
        binaries=("pulumi-resource-openstack",),
        package=".",
        stamps={"main.version": "{version}"},
        comes_with="pulumi",
    ),
    CargoBuild(tool="swfs", binaries=("swfs",), asks={"swfs": _VERSION}),
    CxxBuild(
        tool="xrdmount",
        binaries=("xrdmount",),
        libraries=("XrdCl", "XrdUtils", "fuse3", "crypto"),
        includes=("/usr/include/xrootd", "/usr/include/xrootd/private"),
        asks={"xrdmount": _VERSION},
    ),
)

RECIPES: dict[str, Recipe] = {recipe.tool: recipe for recipe in _ALL}


def find(name: str) -> Recipe:
    """The recipe of a tool, or of the tool that a binary belongs to. Raises EngineError with the nearest names."""
    known = {**{binary: recipe for recipe in _ALL for binary in recipe.binaries}, **RECIPES}
    return names.find(name, known, kind="tool or binary", where="engine/recipes.py", cure="python -m engine list")
