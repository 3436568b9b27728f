package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

type fixed []corev1.PersistentVolume

func (f *fixed) List(context.Context, metav1.ListOptions) (*corev1.PersistentVolumeList, error) {
	return &corev1.PersistentVolumeList{Items: *f}, nil
}

// fixture gives a provisioner over a new tree, which lies at /on/nodes on the nodes.
func fixture(t *testing.T) (*provisioner, *fixed, string) {
	t.Helper()
	root, existing := t.TempDir(), &fixed{}
	tree, err := os.OpenRoot(root)
	if err != nil {
		t.Fatal(err)
	}
	return &provisioner{tree: tree, nodeRoot: "/on/nodes", volumes: existing}, existing, root
}

func options(namespace, claim, mode string) controller.ProvisionOptions {
	return controller.ProvisionOptions{
		PVName: "pvc-1",
		PVC:    &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: claim}},
		StorageClass: &storagev1.StorageClass{Parameters: map[string]string{
			"uid": "0", "gid": "0", "mode": mode,
		}},
	}
}

func TestAHomeOutlivesItsClaim(t *testing.T) {
	p, existing, root := fixture(t)
	first, _, err := p.Provision(context.Background(), options("hub", "alice", "0770"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Spec.HostPath.Path != "/on/nodes/hub/alice" {
		t.Errorf("path on nodes: %s", first.Spec.HostPath.Path)
	}
	file := filepath.Join(root, "hub", "alice", "thesis")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	first.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	*existing = fixed{*first}
	if _, _, err := p.Provision(context.Background(), options("hub", "alice", "0750")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if info, _ := os.Stat(filepath.Dir(file)); info.Mode().Perm() != 0o750 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestAClaimWaitsForTheDeletionOfItsFormerVolume(t *testing.T) {
	p, existing, _ := fixture(t)
	first, _, err := p.Provision(context.Background(), options("hub", "alice", "0770"))
	if err != nil {
		t.Fatal(err)
	}
	*existing = fixed{*first} // its reclaim policy is Delete
	if _, _, err := p.Provision(context.Background(), options("hub", "alice", "0770")); err == nil {
		t.Error("the folder was given out twice")
	}
}

func TestDeleteKeepsInTheTrashUnlessToldToRemove(t *testing.T) {
	for _, how := range []string{"keep", "remove"} {
		p, _, root := fixture(t)
		o := options("hub", "alice", "0770")
		o.StorageClass.Parameters[onDelete] = how
		v, _, err := p.Provision(context.Background(), o)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time stands for a repeated attempt
			if err := p.Delete(context.Background(), v); err != nil {
				t.Fatal(how, err)
			}
		}
		if _, err := os.Stat(filepath.Join(root, "hub", "alice")); !os.IsNotExist(err) {
			t.Error(how, "the folder is still there")
		}
		if _, err := os.Stat(filepath.Join(root, trash, "pvc-1")); os.IsNotExist(err) == (how == "keep") {
			t.Error(how, err)
		}
	}
}

func TestNothingOutsideOfTheTreeIsTouched(t *testing.T) {
	p, _, root := fixture(t)
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "evil")); err != nil {
		t.Fatal(err)
	}
	for _, o := range []controller.ProvisionOptions{
		options("..", "alice", "0770"), options("hub", "../x", "0770"), options("evil", "alice", "0770"),
	} {
		if _, _, err := p.Provision(context.Background(), o); err == nil {
			t.Errorf("%s/%s was made", o.PVC.Namespace, o.PVC.Name)
		}
	}
	if names, _ := os.ReadDir(outside); len(names) != 0 {
		t.Error(names)
	}
	for _, path := range []string{"/etc/passwd", "/on/nodes", "/on/nodes/hub", "/on/nodes/hub/../..", "/on/nodes/.deleted/x"} {
		v := &corev1.PersistentVolume{}
		v.Spec.HostPath = &corev1.HostPathVolumeSource{Path: path}
		if err := p.Delete(context.Background(), v); err == nil {
			t.Errorf("%s was deleted", path)
		}
	}
}

func TestBadParametersAreRefusedByName(t *testing.T) {
	for key, value := range map[string]string{"uid": "-1", "mode": "0888", "mod": "0770", onDelete: "perhaps", "gid": "users"} {
		if _, err := parse(map[string]string{key: value}); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
}
