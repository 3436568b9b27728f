// The shared-folder provisioner makes each PersistentVolumeClaim a folder in one tree that every node mounts alike.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const provisionerName = "cygnet/shared-folder" // what a StorageClass names

var version = "unset" // stamped by the build

func main() {
	root := flag.String("root", "/shared", "the shared tree, as this process sees it")
	nodeRoot := flag.String("node-root", "", "the same tree, as the nodes see it (default: the value of -root)")
	kubeconfig := flag.String("kubeconfig", "", "for running outside of the cluster")
	leader := flag.Bool("leader-election", false, "needed when more than one replica runs")
	showVersion := flag.Bool("version", false, "print the version and leave")
	flag.Parse()
	if *showVersion {
		fmt.Println(version)
		return
	}
	if *nodeRoot == "" {
		*nodeRoot = *root
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *root, *nodeRoot, *kubeconfig, *leader); err != nil {
		klog.ErrorS(err, "stopped")
		klog.FlushAndExit(klog.ExitFlushTimeout, 1)
	}
}

func serve(ctx context.Context, root, nodeRoot, kubeconfig string, leader bool) error {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("the shared tree cannot be opened, is it mounted? %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("no way to the API server: %w", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	p := &provisioner{tree: tree, nodeRoot: nodeRoot, volumes: client.CoreV1().PersistentVolumes()}
	klog.InfoS("serving", "version", version, "root", root, "nodeRoot", nodeRoot)
	controller.NewProvisionController(ctx, client, provisionerName, p, controller.LeaderElection(leader)).Run(ctx)
	return nil
}
