#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A path manager in user space, as small as can be, for namespaces with net.mptcp.pm_type=1.
    userpm.py create TOKEN LOCAL ID REMOTE PORT       a subflow more for one connection
    userpm.py destroy TOKEN LOCAL LPORT REMOTE PORT   that subflow less
    userpm.py announce TOKEN LOCAL ID                 ADD_ADDR to the other side
TOKEN is hexadecimal, as ss -Mi shows it. The exit status is 1 when the kernel refuses."""
import ipaddress
import os
import socket
import struct
import sys

ANNOUNCE, CREATE, DESTROY = 8, 10, 11
A_ADDR, A_TOKEN, A_REMOTE = 1, 4, 6
FAMILY, ID, ADDR4, ADDR6, PORT, FLAGS = 1, 2, 3, 4, 5, 6
SIGNAL = 1


def attr(kind, data, nested=False):
    head = struct.pack("=HH", 4 + len(data), kind | (0x8000 if nested else 0))
    return head + data + bytes(-len(data) % 4)


def address(kind, text, number=None, port=None, flags=None):
    ip = ipaddress.ip_address(text)
    v6 = ip.version == 6
    parts = attr(FAMILY, struct.pack("=H", socket.AF_INET6 if v6 else socket.AF_INET))
    parts += attr(ADDR6 if v6 else ADDR4, ip.packed)
    if number is not None:
        parts += attr(ID, bytes([number]))
    if port is not None:
        parts += attr(PORT, struct.pack("=H", port))
    if flags is not None:
        parts += attr(FLAGS, struct.pack("=I", flags))
    return attr(kind, parts, True)


class Genl:
    def __init__(self):
        self.s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16)
        self.s.bind((0, 0))
        self.s.settimeout(5)

    def ask(self, family, command, attrs):
        body = struct.pack("=BBH", command, 1, 0) + attrs
        self.s.send(struct.pack("=IHHII", 16 + len(body), family, 5, 1, 0) + body)
        answer = b""
        while True:
            data = self.s.recv(65536)
            kind = struct.unpack_from("=H", data, 4)[0]
            if kind == 2:
                error = -struct.unpack_from("=i", data, 16)[0]
                if error:
                    raise OSError(error, os.strerror(error))
                return answer
            answer = data
            # The acknowledgement may share the datagram.
            end = struct.unpack_from("=I", data)[0]
            if len(data) > end:
                return answer

    def family(self, name):
        answer = self.ask(16, 3, attr(2, name.encode() + b"\0"))[20:]
        while answer:
            size, kind = struct.unpack_from("=HH", answer)
            if kind == 1:
                return struct.unpack_from("=H", answer, 4)[0]
            answer = answer[(size + 3) & ~3:]
        raise OSError(f"the kernel has no {name}")


def main(what, token, local, number, remote=None, port=None):
    attrs = attr(A_TOKEN, struct.pack("=I", int(token, 16)))
    if what == "announce":
        command, attrs = ANNOUNCE, attrs + address(A_ADDR, local, int(number), flags=SIGNAL)
    elif what == "create":
        command = CREATE
        attrs += address(A_ADDR, local, int(number)) + address(A_REMOTE, remote, port=int(port))
    else:
        command = DESTROY
        attrs += address(A_ADDR, local, port=int(number)) + address(A_REMOTE, remote,
                                                                    port=int(port))
    genl = Genl()
    genl.ask(genl.family("mptcp_pm"), command, attrs)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as error:
        sys.exit(f"userpm: {' '.join(sys.argv[1:])}: {error}")
