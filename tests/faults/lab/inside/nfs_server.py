"""A kernel NFS server in the guest, and mounts of it as two machines would have them.

No daemons: what `exportfs` and `mountd` would tell the kernel is written into its caches for good.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

from tests.faults.lab.inside import machine

_RPC = Path("/proc/net/rpc")
_FOREVER = 2**31 - 1
# linux/nfsd/export.h: no subtree check, any client port, an id of its own (0: the root of NFSv4).
_FLAGS = 0x0400 | 0x0002 | 0x2000
_NOBODY = 65534
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


@dataclass(frozen=True, slots=True)
class Share:
    """One directory, seen from the server and through two mounts with caches of their own."""

    on_server: Path
    first: Path
    second: Path


def serve(device: str) -> Share:
    """Export an ext4 disk and mount the export twice, with the default options of NFS 4.2."""
    set_network(up=True)
    machine.load_modules("nfsd", "nfsv4")
    # Both mounts are of one machine, hence one client to the server: with leases it would hand a
    # file to that client, and neither mount would ask for changes again.
    Path("/proc/sys/fs/leases-enable").write_text("0")
    exported = machine.mount(device, "ext4", "export")
    _start_server(machine.mount("nfsd", "nfsd", "nfsd"), exported)
    return Share(exported, mount_share("first"), mount_share("second"))


def _start_server(nfsd: Path, exported: Path) -> None:
    recovery = Path("/run/recovery")
    recovery.mkdir()
    _say(nfsd / "nfsv4recoverydir", f"{recovery}\n")
    _say(nfsd / "nfsv4leasetime", "10")
    _say(nfsd / "nfsv4gracetime", "10")
    # With version 3 it would register itself with rpcbind, which is not there.
    _say(nfsd / "versions", "-3 +4 +4.1 +4.2\n")
    listener = socket.create_server(("127.0.0.1", 2049))
    _say(nfsd / "portlist", f"{listener.detach()}")
    _say(nfsd / "threads", "4")
    _say(_RPC / "auth.unix.ip/channel", f"nfsd 127.0.0.1 {_FOREVER} lab\n")
    _say(
        _RPC / "nfsd.export/channel",
        f"lab {exported} {_FOREVER} {_FLAGS} {_NOBODY} {_NOBODY} 0\n",
    )
    _say(_RPC / "nfsd.fh/channel", f"lab 1 \\x00000000 {_FOREVER} {exported}\n")
    # No client had a lock before this boot: do not wait for one to claim it.
    _say(nfsd / "v4_end_grace", "Y")


def mount_share(name: str) -> Path:
    """Mount the export, with caches of its own."""
    options = "vers=4.2,proto=tcp,nosharecache,clientaddr=127.0.0.1,addr=127.0.0.1"
    return machine.mount("127.0.0.1:/", "nfs4", name, options)


def _say(file: Path, words: str) -> None:
    """Write in one call: these files take one, and tell by an error what they think of it."""
    descriptor = os.open(file, os.O_WRONLY)
    try:
        os.write(descriptor, words.encode())
    finally:
        os.close(descriptor)


def set_network(*, up: bool) -> None:
    """Switch the way to the file server on or off (netdevice(7))."""
    with socket.socket() as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[0]
        flags = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags))
