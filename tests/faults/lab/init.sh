#!/bin/sh
# The guest's first process. The kernel's command line gives LAB_TREE, LAB_SHARE and LAB_PYTHON.
# The host's file system is the root, read-only; what the guest may write is in memory, on its
# disks, and in LAB_SHARE, a folder of the host.
export PATH=/usr/sbin:/sbin:/usr/bin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/share /run/home /run/tmp
mount -t hostfs hostfs /mnt/share -o "$LAB_SHARE"
echo "${LAB_NAME:-lab}" >/proc/sys/kernel/hostname

export HOME=/run/home TMPDIR=/run/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONPATH="$LAB_TREE"
cd "$LAB_TREE" && "$LAB_PYTHON" -m tests.faults.lab.inside
echo o >/proc/sysrq-trigger
sleep 60
