#!/usr/bin/env bash
# Unpacks what `make faults-lab` needs into a cache folder; installs nothing on this machine.
#
# usage: build.sh CACHE. In CACHE afterwards: tools/ (Debian packages, unpacked), and xstate.so where
# the processor needs it. It is done once; a change of this file or of xstate.c has it done again.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
stamp=$cache/built

# user-mode-linux: the guest's kernel; kmod: its modules (NFS, device mapper, quota); dmsetup: disks
# that fail; xfsprogs and e2fsprogs: file systems. The others are libraries of these.
packages=(
  user-mode-linux kmod libkmod2 dmsetup libdevmapper1.02.1
  xfsprogs libinih1 liburcu8 e2fsprogs libext2fs2 libss2 libcom-err2
)

fail() {
  echo "make faults-lab: $*" >&2
  exit 1
}

# Register state beyond AVX is more than the guest's kernel keeps.
needs_xstate() { grep -qwE 'avx512f|amx_tile|mpx|pku' /proc/cpuinfo; }

if [[ $stamp -nt $here/build.sh && $stamp -nt $here/xstate.c ]]; then exit 0; fi

[[ $(uname -m) == x86_64 ]] || fail "needs an x86-64 machine, this is $(uname -m)"
for program in apt-get dpkg; do
  command -v "$program" >/dev/null || fail "needs Debian's $program, which is not here"
done
if needs_xstate && ! command -v cc >/dev/null; then fail "needs a C compiler: apt install gcc libc6-dev"; fi

echo "make faults-lab: unpacking user-mode-linux and file system tools into ${cache##*/} (once)" >&2
rm -rf "$cache/packages" "$cache/tools" "$cache/xstate.so" "$stamp"
mkdir "$cache/packages" "$cache/tools"
cd "$cache/packages"
download() { apt-get download -qq -o APT::Sandbox::User=root "${packages[@]}" >&2; }
download 2>/dev/null || { apt-get update -qq && download; } ||
  fail "apt-get download failed; it needs a package mirror with: ${packages[*]}"
for package in *.deb; do dpkg -x "$package" "$cache/tools"; done
rm -rf "$cache/packages"

# modprobe -d looks for modules in lib/modules below it; its own link is an absolute one.
ln -sfn ../bin/kmod "$cache/tools/sbin/modprobe"
ln -sfn ../usr/lib/uml/modules "$cache/tools/lib/modules"
if needs_xstate; then
  cc -O2 -Wall -Wextra -shared -fPIC -o "$cache/xstate.so" "$here/xstate.c" ||
    fail "needs a C compiler that works: apt install gcc libc6-dev"
fi
touch "$stamp"
