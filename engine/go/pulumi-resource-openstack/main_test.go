package main

import (
	"testing"

	tf "github.com/terraform-provider-openstack/terraform-provider-openstack/openstack"
)

func TestEachNameIsOneOfTerraforms(t *testing.T) {
	upstream := tf.Provider()
	for name := range resources {
		if upstream.ResourcesMap[name] == nil {
			t.Errorf("no resource %s", name)
		}
	}
	for name := range dataSources {
		if upstream.DataSourcesMap[name] == nil {
			t.Errorf("no data source %s", name)
		}
	}
}
