#!/usr/bin/env bash
# Brings a cluster and the service in it up on machines that run, with ssh, skopeo, kubeadm and kubectl alone: what a
# patient operator would write by hand. It makes no certificate, checks no configuration and repairs nothing.
#
#   bare.sh FOLDER
#
# FOLDER has what was copied from a stack that was up:
#   ssh.conf                       how to reach the machines by name
#   control-plane-1.tar, ...       each machine's own files, without what makes it a member of a cluster
#   images                         lines "LAYOUT REFERENCE"
#   authority/ca.crt, auth.json    how to push to the registry
#   namespaces.json, objects.json  what runs in the cluster
set -euo pipefail
cd "$1"
control="control-plane-1"
mapfile -t machines < <(basename --suffix=.tar -- *-[0-9].tar)

on() {
    local machine=$1
    shift
    ssh -F ssh.conf "$machine" "$@"
}

quietly() {
    "$@" >"$BASHPID.log" 2>&1 || {
        tail --lines=20 "$BASHPID.log"
        return 1
    }
}

say() {
    echo "bare: $* (${SECONDS} s)"
}

everywhere() {
    local process processes=() action=$1
    shift
    for machine in "$@"; do
        "$action" "$machine" &
        processes+=($!)
    done
    for process in "${processes[@]}"; do
        wait "$process"
    done
}

prepare() {
    on "$1" 'tar --extract --directory=/ && update-ca-certificates >/dev/null 2>&1 && systemctl daemon-reload &&
        systemctl restart ssh systemd-sysctl systemd-modules-load cvmfs.mount containerd cygnet-guard cygnet-cni-config.path' <"$1.tar"
}

mount_software() {
    on "$1" 'cd /etc/systemd/system/multi-user.target.wants && systemctl start swfs@*.service'
}

join() {
    quietly on "$1" 'tar --extract --directory=/etc/kubernetes && cd /etc/kubernetes &&
        kubeadm join --config=join.yaml && rm join.yaml discovery.conf' <join.tar
}

say "preparing ${machines[*]}"
everywhere prepare "${machines[@]}"
on "$control" systemctl restart docker-registry nginx squid
everywhere mount_software "${machines[@]}"

say "pushing images"
push() {
    skopeo copy --quiet --retry-times=10 --preserve-digests --dest-cert-dir=authority --dest-authfile=auth.json \
        "oci:$1" "docker://$2"
}
export -f push
xargs --arg-file=images --max-lines=1 --max-procs=2 bash -c 'push "$@"' push

say "making the cluster"
quietly on "$control" kubeadm init --skip-token-print --config=/etc/kubernetes/kubeadm.yaml
kubectl=(on "$control" kubectl --kubeconfig=/etc/kubernetes/admin.conf)
"${kubectl[@]}" apply --filename=/etc/kubernetes/addons >/dev/null
token=$(on "$control" kubeadm --kubeconfig=/etc/kubernetes/admin.conf token create --ttl=15m)
joining=("${kubectl[@]/admin.conf/discovery.conf}")
server=$("${kubectl[@]}" config view --output="jsonpath={.clusters[0].cluster.server}")
"${joining[@]}" config set-cluster bare --server="$server" --certificate-authority=/etc/kubernetes/pki/ca.crt \
    --embed-certs >/dev/null
"${joining[@]}" config set-credentials bare --token="$token" >/dev/null
"${joining[@]}" config set-context bare --cluster=bare --user=bare >/dev/null
"${joining[@]}" config use-context bare >/dev/null
on "$control" 'cat >/etc/kubernetes/join.yaml && tar --create --directory=/etc/kubernetes join.yaml discovery.conf' >join.tar \
    <<EOF
apiVersion: kubeadm.k8s.io/v1beta4
kind: JoinConfiguration
discovery:
  file:
    kubeConfigPath: /etc/kubernetes/discovery.conf
nodeRegistration:
  criSocket: unix:///run/containerd/containerd.sock
  ignorePreflightErrors: [SystemVerification]
  imagePullSerial: false
  kubeletExtraArgs:
    - name: node-labels
      value: cygnet.io/group=worker
EOF
workers=()
for machine in "${machines[@]}"; do
    [ "$machine" = "$control" ] || workers+=("$machine")
done
everywhere join "${workers[@]}"
"${kubectl[@]}" wait --for=condition=Ready --timeout=300s node "${machines[@]}" >/dev/null

say "making what runs in it"
"${kubectl[@]}" create --filename=- <namespaces.json >/dev/null
"${kubectl[@]}" create --filename=- <objects.json >/dev/null
"${kubectl[@]}" get deployments,daemonsets --all-namespaces --no-headers \
    --output=custom-columns=:.metadata.namespace,:.kind,:.metadata.name |
    while read -r namespace kind name; do
        "${kubectl[@]}" rollout status --timeout=300s --namespace="$namespace" "$kind/$name" </dev/null >/dev/null
    done
say "up"
