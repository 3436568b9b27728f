"""A server for each flavor that the configuration names, behind a router, with a volume that is kept.

They are of Nova's fake driver: made, changed and removed like any other, and never reached.
"""

import pulumi
import pulumi_openstack as openstack

config = pulumi.Config("cygnet")
machines = config.require_object("machines")
stack = f"cygnet-{pulumi.get_stack()}"
metadata = {"cygnet_stack": pulumi.get_stack()}

whole = pulumi.ComponentResource("cygnet:index:Machines", "machines", None, None)
cloud = openstack.Provider(
    "cloud", cloud=machines["openstack"]["cloud"], max_retries=5, opts=pulumi.ResourceOptions(parent=whole)
)
opts = pulumi.ResourceOptions(parent=whole, provider=cloud)
key = openstack.compute.Keypair("operator", name=stack, public_key=machines["public_key"], opts=opts)
network = openstack.networking.Network("network", name=f"{stack}-network", tags=[stack], opts=opts)
subnet = openstack.networking.Subnet(
    "subnet", name=f"{stack}-subnet", network_id=network.id, cidr="192.168.91.0/24", tags=[stack], opts=opts
)
outside = openstack.networking.get_network_output(name="ext", opts=pulumi.InvokeOptions(parent=whole, provider=cloud))
router = openstack.networking.Router(
    "router", name=f"{stack}-router", external_network_id=outside.id, tags=[stack], opts=opts
)
interface = openstack.networking.RouterInterface("interface", router_id=router.id, subnet_id=subnet.id, opts=opts)
group = openstack.networking.SecGroup("machines", name=stack, tags=[stack], opts=opts)
for port in (22, 443, 6443):
    openstack.networking.SecGroupRule(
        f"tcp-{port}",
        security_group_id=group.id,
        direction="ingress",
        ethertype="IPv4",
        protocol="tcp",
        port_range_min=port,
        port_range_max=port,
        remote_ip_prefix="192.0.2.0/24",
        opts=opts,
    )
apart = openstack.compute.ServerGroup("worker", name=f"{stack}-worker", policies="soft-anti-affinity", opts=opts)
openstack.networking.FloatingIp("address", pool="ext", description=f"{stack}-address", tags=[stack], opts=opts)
homes = openstack.blockstorage.Volume(
    "homes",
    name=f"{stack}-homes",
    size=1,
    metadata=metadata,
    opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(protect=True)),
)
servers = [
    openstack.compute.Instance(
        f"worker-{number}",
        name=f"{stack}-worker-{number}",
        image_name="debian-12",
        flavor_name=flavor,
        key_pair=key.name,
        security_groups=[group.name],
        networks=[openstack.compute.InstanceNetworkArgs(uuid=network.id)],
        scheduler_hints=[openstack.compute.InstanceSchedulerHintArgs(group=apart.id)],
        user_data=machines["user_data"],
        metadata=metadata,
        opts=pulumi.ResourceOptions.merge(
            opts, pulumi.ResourceOptions(delete_before_replace=True, depends_on=[subnet, interface])
        ),
    )
    for number, flavor in enumerate(machines["flavors"], 1)
]
openstack.compute.VolumeAttach("homes", instance_id=servers[0].id, volume_id=homes.id, opts=opts)
pulumi.export("servers", [server.id for server in servers])
