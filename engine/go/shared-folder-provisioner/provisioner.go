package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

const (
	trash      = ".deleted"                         // no namespace can have this name
	onDelete   = "onDelete"                         // StorageClass parameter: "keep" (the default, moves to the trash) or "remove"
	annotation = "cygnet.shared-folder/" + onDelete // where a volume remembers it
)

// lister is what the provisioner asks of the API server.
type lister interface {
	List(context.Context, metav1.ListOptions) (*corev1.PersistentVolumeList, error)
}

// provisioner implements controller.Provisioner. All it does to files goes through tree, which the operating system
// keeps inside of the shared tree: neither "..", nor a symbolic link that a user made, leads out of it.
type provisioner struct {
	tree     *os.Root
	nodeRoot string
	volumes  lister
}

// settings are the parameters of a StorageClass.
type settings struct {
	uid, gid int
	mode     fs.FileMode
	onDelete string
}

// Provision makes <namespace>/<claim>, or takes the folder of that name that is there: a home outlives its claim.
func (p *provisioner) Provision(ctx context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	s, err := parse(o.StorageClass.Parameters)
	if err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("StorageClass %s: %w", o.StorageClass.Name, err)
	}
	folder, err := folderOf(o.PVC)
	if err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	where := path.Join(p.nodeRoot, folder)
	if err := p.refuseDying(ctx, where); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := p.ensureFolder(folder, s); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("folder %s: %w", folder, err)
	}
	return volume(o, where, s), controller.ProvisioningFinished, nil
}

// Delete is called for volumes with reclaim policy Delete only; those with Retain keep their folder.
func (p *provisioner) Delete(_ context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.HostPath == nil {
		return fmt.Errorf("volume %s is not a hostPath volume", v.Name)
	}
	folder, inside := strings.CutPrefix(v.Spec.HostPath.Path, p.nodeRoot+"/")
	if parts := strings.Split(folder, "/"); !inside || len(parts) != 2 || !isName(parts[0]) || !isName(parts[1]) {
		return fmt.Errorf("volume %s: %s is not a folder of this provisioner", v.Name, v.Spec.HostPath.Path)
	}
	if v.Annotations[annotation] == "remove" {
		return p.tree.RemoveAll(folder)
	}
	if err := p.tree.MkdirAll(trash, 0o700); err != nil {
		return err
	}
	err := p.tree.Rename(folder, path.Join(trash, v.Name)) // volume names are unique
	if errors.Is(err, fs.ErrNotExist) {
		return nil // moved by an earlier attempt
	}
	return err
}

// refuseDying lets a claim wait (the controller tries again) while a former volume on its folder is being deleted.
func (p *provisioner) refuseDying(ctx context.Context, where string) error {
	all, err := p.volumes.List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	for _, v := range all.Items {
		deleting := v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
		if deleting && v.Spec.HostPath != nil && v.Spec.HostPath.Path == where {
			return fmt.Errorf("volume %s still has this folder and is to be deleted first", v.Name)
		}
	}
	return nil
}

// ensureFolder may be called any number of times; it never touches what is in the folder.
func (p *provisioner) ensureFolder(folder string, s settings) error {
	if err := p.tree.MkdirAll(path.Dir(folder), 0o711); err != nil {
		return err
	}
	if err := p.tree.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := p.tree.Lchown(folder, s.uid, s.gid); err != nil {
		return err
	}
	return p.tree.Chmod(folder, s.mode) // after chown, which clears setgid; and whatever the umask is
}

// folderOf names the folder of a claim.
func folderOf(c *corev1.PersistentVolumeClaim) (string, error) {
	if c.Spec.Selector != nil || (c.Spec.VolumeMode != nil && *c.Spec.VolumeMode == corev1.PersistentVolumeBlock) {
		return "", fmt.Errorf("claim %s/%s: selectors and block volumes are not supported", c.Namespace, c.Name)
	}
	if !isName(c.Namespace) || !isName(c.Name) {
		return "", fmt.Errorf("claim %q in namespace %q: not a DNS name", c.Name, c.Namespace)
	}
	return c.Namespace + "/" + c.Name, nil
}

func isName(s string) bool { return len(validation.IsDNS1123Subdomain(s)) == 0 }

// parse reads uid, gid, mode (octal) and onDelete; other parameters are refused, so that no misspelt one is ignored.
func parse(parameters map[string]string) (settings, error) {
	s := settings{uid: 1000, gid: 100, mode: 0o770, onDelete: "keep"} // Jupyter's user and group
	for key, value := range parameters {
		var err error
		switch key {
		case "uid":
			s.uid, err = number(value, 10, 1<<31-1)
		case "gid":
			s.gid, err = number(value, 10, 1<<31-1)
		case "mode":
			var bits int
			bits, err = number(value, 8, 0o777)
			s.mode = fs.FileMode(bits)
		case onDelete:
			s.onDelete = value
			if value != "keep" && value != "remove" {
				err = errors.New("must be keep or remove")
			}
		default:
			err = errors.New("unknown; there are uid, gid, mode, onDelete")
		}
		if err != nil {
			return s, fmt.Errorf("parameter %s: %q: %w", key, value, err)
		}
	}
	return s, nil
}

func number(value string, base, most int) (int, error) {
	n, err := strconv.ParseInt(value, base, 32)
	if err == nil && (n < 0 || n > int64(most)) {
		err = fmt.Errorf("must be from 0 to %s", strconv.FormatInt(int64(most), base))
	}
	return int(n), err
}

func volume(o controller.ProvisionOptions, where string, s settings) *corev1.PersistentVolume {
	mustExist := corev1.HostPathDirectory          // a node without the mount must fail, not write to its own disk
	policy := corev1.PersistentVolumeReclaimDelete // Kubernetes' default
	if o.StorageClass.ReclaimPolicy != nil {
		policy = *o.StorageClass.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName, Annotations: map[string]string{annotation: s.onDelete}},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: policy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage]},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				HostPath: &corev1.HostPathVolumeSource{Path: where, Type: &mustExist},
			},
		},
	}
}
