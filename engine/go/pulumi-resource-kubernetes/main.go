// The Kubernetes provider of Pulumi, built from its published module.
package main

import (
	_ "embed"

	"github.com/pulumi/pulumi-kubernetes/provider/v4/pkg/provider"
)

// Copied at build time from the module's cmd/pulumi-resource-kubernetes folder.
var (
	//go:embed schema.json
	schema []byte
	//go:embed terraform-mapping.json
	mapping []byte
)

var version = "unset" // stamped by the build: that of the SDK it serves

func main() { provider.Serve("kubernetes", version, schema, mapping) }
