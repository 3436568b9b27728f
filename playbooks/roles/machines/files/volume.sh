#!/bin/sh
# cygnet-volume VOLUME DEVICE FOLDER KIND: mounts a volume of a cloud, now and at each start of the machine.
#
# VOLUME is its ID in the cloud, of which hypervisors show the beginning as a serial number; DEVICE is where the cloud
# thinks that it is, for those that do not. An empty one gets a file system of KIND, once: what has any content is never
# made anew. Says nothing when there is nothing to do.
set -eu
volume=$1 device=$2 folder=$3 kind=$4
serial=$(echo "$volume" | cut -c1-20)

for link in /dev/disk/by-id/*"$serial"*; do
    [ ! -b "$link" ] || device=$link
done
[ -b "$device" ] || { echo "volume $volume is neither in /dev/disk/by-id nor $device" >&2; exit 1; }

# 2: no content is known. Anything else, such as a device that cannot be read, must not lead to a new file system.
head -c 65536 "$device" >/dev/null
status=0
found=$(blkid --probe --match-tag TYPE --output value "$device") || status=$?
case $status in
    0) kind=$found ;;
    2)
        case $kind in
            btrfs) mkfs.btrfs --quiet "$device" ;;
            *) "mkfs.$kind" -q -m 0 "$device" ;;
        esac
        echo "made a file system"
        ;;
    *)
        echo "what is on $device cannot be told (blkid ended with $status)" >&2
        exit 1
        ;;
esac

uuid=$(blkid --probe --match-tag UUID --output value "$device")
entry="UUID=$uuid $folder $kind defaults,nofail,x-systemd.device-timeout=30s 0 2"
if ! grep -qxF "$entry" /etc/fstab; then
    { grep -v " $folder " /etc/fstab || true; echo "$entry"; } >/etc/fstab.new
    mv /etc/fstab.new /etc/fstab
    echo "entered"
fi
if ! mountpoint -q "$folder"; then
    mkdir -p "$folder"
    mount -t "$kind" "$device" "$folder"
    echo "mounted"
fi

# One that was made larger since.
size() { df --output=size "$folder" | tail -1; }
before=$(size)
case $kind in
    btrfs) btrfs filesystem resize max "$folder" >/dev/null ;;
    ext4) resize2fs "$device" >/dev/null 2>&1 ;;
esac
[ "$before" = "$(size)" ] || echo "grown"
