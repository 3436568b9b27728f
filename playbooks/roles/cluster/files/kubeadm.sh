#!/bin/sh
# cygnet-kubeadm [--anew] init|join ARGUMENTS...: runs `kubeadm init|join ARGUMENTS...` unless that was done.
#
# A mark stands while kubeadm works. One that is found at the start is from a run that was killed or failed: its
# half-made work is undone first. --anew undoes finished work as well, such as that of another cluster.
# The kubeadm of a run that was killed may work on: it is waited for.
# Says nothing when there is nothing to do, and ends with the last lines of kubeadm and the kubelet on a failure.
set -eu

exec 9>/run/cygnet-kubeadm.lock
flock 9

mark=/etc/kubernetes/.kubeadm-works
log=/var/log/cygnet-kubeadm.log

undo() {
    # A first control plane that was half made has nobody to tell, and would wait minutes for its own API.
    [ "$1" != init ] || rm -f /etc/kubernetes/admin.conf
    kubeadm reset --force
    # What the network of that cluster left, and kubeadm does not know.
    for link in cni0 flannel.1; do
        ip link delete "$link" 2>/dev/null || true
    done
    # Not the folder itself: containerd watches it, and ends when it goes.
    rm -rf /etc/cni/net.d/* /run/flannel /var/lib/cni
}

work() {
    [ ! -e "$mark" ] || undo "$1"
    touch "$mark"
    kubeadm "$@"
}

if [ "$1" = --anew ]; then
    shift
    touch "$mark"
elif [ -e /etc/kubernetes/kubelet.conf ] && [ ! -e "$mark" ]; then
    exit 0
fi
if ! work "$@" >"$log" 2>&1; then
    tail --lines=15 "$log"
    journalctl --unit=kubelet --lines=15 --no-pager --output=cat
    exit 1
fi
rm "$mark"
echo "done"
