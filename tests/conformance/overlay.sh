#!/bin/sh
# Lays an overlay over `/`, kept in memory, and runs a script as root in it. To be started in
# namespaces of its own: overlay.sh SHARED SCRIPT, where SHARED stays readable at its path.
set -eu
shared=$1 script=$2
base=/mnt
mount -t tmpfs -o mode=755,size=4g tmpfs "$base"
mkdir "$base/upper" "$base/work" "$base/root"
mount -t overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" overlay "$base/root"
mount --rbind /dev "$base/root/dev"
mount -t proc proc "$base/root/proc"
mount --rbind /sys "$base/root/sys"
mount -t tmpfs -o mode=1777 tmpfs "$base/root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$base/root/run"
ip link set lo up
# A failed or rebuilt target leaves nothing in the sources: they are a part of the overlay.
[ -e "$base/root$shared" ]
exec chroot "$base/root" /bin/sh -eu "$script"
