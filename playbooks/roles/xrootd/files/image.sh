#!/bin/sh
# cygnet-eos-image IMAGE GIB: makes a file with a btrfs file system, or makes one that is there larger; never smaller.
# cygnet-eos-image --fill IMAGE FOLDER: lets the file system that is mounted there fill its file.
# Says what it changed, and nothing when there is nothing to do.
set -eu
if [ "$1" = --fill ]; then
    device=$(findmnt --noheadings --output SOURCE --mountpoint "$3")
    losetup --set-capacity "$device"
    exec btrfs --quiet filesystem resize max "$3"
fi
image=$1
bytes=$(($2 << 30))
if [ ! -e "$image" ]; then
    mkdir -p "$(dirname "$image")"
    # In one step, so that a killed run leaves no half-made file system behind.
    rm -f "$image.new"
    (umask 077 && truncate --size="$bytes" "$image.new")
    mkfs.btrfs --quiet --label eos "$image.new" > /dev/null 2>&1
    mv "$image.new" "$image"
    echo "made $image"
elif [ "$(stat --format=%s "$image")" -lt "$bytes" ]; then
    truncate --size="$bytes" "$image"
    echo "enlarged $image"
fi
