// The OpenStack provider of Pulumi, bridged from the Terraform provider's published module.
package main

import (
	tf "github.com/terraform-provider-openstack/terraform-provider-openstack/openstack"

	"github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfbridge"
	shim "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim"
	sdkv2 "github.com/pulumi/pulumi-terraform-bridge/v3/pkg/tfshim/sdk-v2"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
)

var version = "unset" // stamped by the build: that of the SDK it serves

// resources maps Terraform's names to the tokens of the pulumi-openstack SDK.
var resources = map[string]string{
	"openstack_blockstorage_quotaset_v3":              "blockstorage/quoteSetV3:QuoteSetV3",
	"openstack_blockstorage_volume_v3":                "blockstorage/volume:Volume",
	"openstack_compute_flavor_v2":                     "compute/flavor:Flavor",
	"openstack_compute_instance_v2":                   "compute/instance:Instance",
	"openstack_compute_interface_attach_v2":           "compute/interfaceAttach:InterfaceAttach",
	"openstack_compute_keypair_v2":                    "compute/keypair:Keypair",
	"openstack_compute_quotaset_v2":                   "compute/quotaSetV2:QuotaSetV2",
	"openstack_compute_servergroup_v2":                "compute/serverGroup:ServerGroup",
	"openstack_compute_volume_attach_v2":              "compute/volumeAttach:VolumeAttach",
	"openstack_containerinfra_cluster_v1":             "containerinfra/cluster:Cluster",
	"openstack_containerinfra_clustertemplate_v1":     "containerinfra/clusterTemplate:ClusterTemplate",
	"openstack_containerinfra_nodegroup_v1":           "containerinfra/nodeGroup:NodeGroup",
	"openstack_dns_recordset_v2":                      "dns/recordSet:RecordSet",
	"openstack_dns_zone_v2":                           "dns/zone:Zone",
	"openstack_identity_application_credential_v3":    "identity/applicationCredential:ApplicationCredential",
	"openstack_identity_project_v3":                   "identity/project:Project",
	"openstack_identity_role_assignment_v3":           "identity/roleAssignment:RoleAssignment",
	"openstack_identity_user_v3":                      "identity/user:User",
	"openstack_images_image_access_v2":                "images/imageAccess:ImageAccess",
	"openstack_images_image_v2":                       "images/image:Image",
	"openstack_keymanager_secret_v1":                  "keymanager/secretV1:SecretV1",
	"openstack_lb_listener_v2":                        "loadbalancer/listener:Listener",
	"openstack_lb_loadbalancer_v2":                    "loadbalancer/loadBalancer:LoadBalancer",
	"openstack_lb_member_v2":                          "loadbalancer/member:Member",
	"openstack_lb_members_v2":                         "loadbalancer/members:Members",
	"openstack_lb_monitor_v2":                         "loadbalancer/monitor:Monitor",
	"openstack_lb_pool_v2":                            "loadbalancer/pool:Pool",
	"openstack_networking_floatingip_associate_v2":    "networking/floatingIpAssociate:FloatingIpAssociate",
	"openstack_networking_floatingip_v2":              "networking/floatingIp:FloatingIp",
	"openstack_networking_network_v2":                 "networking/network:Network",
	"openstack_networking_port_secgroup_associate_v2": "networking/portSecGroupAssociate:PortSecGroupAssociate",
	"openstack_networking_port_v2":                    "networking/port:Port",
	"openstack_networking_quota_v2":                   "networking/quotaV2:QuotaV2",
	"openstack_networking_rbac_policy_v2":             "networking/rbacPolicyV2:RbacPolicyV2",
	"openstack_networking_router_interface_v2":        "networking/routerInterface:RouterInterface",
	"openstack_networking_router_route_v2":            "networking/routerRoute:RouterRoute",
	"openstack_networking_router_v2":                  "networking/router:Router",
	"openstack_networking_secgroup_rule_v2":           "networking/secGroupRule:SecGroupRule",
	"openstack_networking_secgroup_v2":                "networking/secGroup:SecGroup",
	"openstack_networking_subnet_v2":                  "networking/subnet:Subnet",
	"openstack_objectstorage_container_v1":            "objectstorage/container:Container",
	"openstack_sharedfilesystem_share_access_v2":      "sharedfilesystem/shareAccess:ShareAccess",
	"openstack_sharedfilesystem_share_v2":             "sharedfilesystem/share:Share",
	"openstack_sharedfilesystem_sharenetwork_v2":      "sharedfilesystem/shareNetwork:ShareNetwork",
}

// dataSources does the same for what is only read.
var dataSources = map[string]string{
	"openstack_blockstorage_quotaset_v3":      "blockstorage/getQuotasetV3:getQuotasetV3",
	"openstack_compute_availability_zones_v2": "compute/getAvailabilityZones:getAvailabilityZones",
	"openstack_compute_flavor_v2":             "compute/getFlavor:getFlavor",
	"openstack_compute_keypair_v2":            "compute/getKeypair:getKeypair",
	"openstack_compute_limits_v2":             "compute/getLimitsV2:getLimitsV2",
	"openstack_compute_quotaset_v2":           "compute/getQuotaSetV2:getQuotaSetV2",
	"openstack_dns_zone_v2":                   "dns/getDnsZone:getDnsZone",
	"openstack_identity_auth_scope_v3":        "identity/getAuthScope:getAuthScope",
	"openstack_identity_project_v3":           "identity/getProject:getProject",
	"openstack_images_image_v2":               "images/getImage:getImage",
	"openstack_networking_floatingip_v2":      "networking/getFloatingIp:getFloatingIp",
	"openstack_networking_network_v2":         "networking/getNetwork:getNetwork",
	"openstack_networking_port_v2":            "networking/getPort:getPort",
	"openstack_networking_quota_v2":           "networking/getQuotaV2:getQuotaV2",
	"openstack_networking_router_v2":          "networking/getRouter:getRouter",
	"openstack_networking_secgroup_v2":        "networking/getSecGroup:getSecGroup",
	"openstack_networking_subnet_v2":          "networking/getSubnet:getSubnet",
}

func main() {
	upstream := tf.Provider()
	// Has a default, so that every run would warn of a setting that nobody made.
	upstream.Schema["use_octavia"].Deprecated = ""
	p := sdkv2.NewProvider(upstream)
	info := tfbridge.ProviderInfo{
		P: p, Name: "openstack", Version: version,
		Resources:   map[string]*tfbridge.ResourceInfo{},
		DataSources: map[string]*tfbridge.DataSourceInfo{},
	}
	for name, token := range resources {
		info.Resources[name] = &tfbridge.ResourceInfo{Tok: tokens.Type("openstack:" + token)}
	}
	for name, token := range dataSources {
		info.DataSources[name] = &tfbridge.DataSourceInfo{Tok: tokens.ModuleMember("openstack:" + token)}
	}
	p.ResourcesMap().Range(func(name string, _ shim.Resource) bool {
		if _, mapped := info.Resources[name]; !mapped {
			info.IgnoreMappings = append(info.IgnoreMappings, name)
		}
		return true
	})
	info.SetAutonaming(255, "-")
	tfbridge.Main("openstack", version, info, []byte(`{"name":"openstack","version":"`+version+`"}`))
}
