#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# Installs what building (and with --tests, testing; with --bench, comparing) libnof needs and what
# this system does not have yet. Does nothing, and needs no privilege, when all is here.
set -u -o pipefail

usage="usage: scripts/deps.sh [--tests] [--bench] [--check] [--help]

Installs from Debian 12 what is missing to build libnof.
  --tests   also what ./runtests uses
  --bench   also what bench/run measures libnof against, and with
  --check   install nothing; name what is missing and exit 1 if anything is"

want_tests=0
want_bench=0
only_check=0
for arg in "$@"; do
	case $arg in
	--tests) want_tests=1 ;;
	--bench) want_bench=1 ;;
	--check) only_check=1 ;;
	--help) printf '%s\n' "$usage"; exit 0 ;;
	*) printf 'deps.sh: unknown option %s\n%s\n' "$arg" "$usage" >&2; exit 2 ;;
	esac
done

# libjson-c-dev: Debian's libnvme.pc names it, its libnvme-dev does not depend on it.
build_packages=(gcc libc6-dev meson ninja-build pkgconf liburing-dev libnvme-dev libjson-c-dev
	libssl-dev libmnl-dev)
# The C library's headers and the sanitizers' run-time libraries come with gcc and clang.
# libavahi-client-dev: builds mDNS in, which is left out where it is missing; the daemons are its test.
# The interop VM takes the kernel and nvme-cli from apt's archive itself, without installing them.
test_packages=(libcmocka-dev libglib2.0-dev g++ clang valgrind mandoc tshark tcpdump
	qemu-system-x86 busybox-static kmod iproute2 nftables mptcpize procps util-linux python3 libavahi-client-dev
	libavahi-client3 avahi-daemon dbus)
# The peers that speed is compared with, and what counts instructions and shows profiles.
bench_packages=(strace fio libiscsi-bin libiscsi7 tgt libnbd-dev nbdkit mptcpize valgrind linux-perf python3)

fail()
{
	printf 'deps.sh: %s\n' "$1" >&2
	exit 1
}

# Not a Debian system: nothing can be installed by name, but all may be there.
check_by_hand()
{
	local missing=() item
	for item in meson ninja cc pkg-config; do
		command -v "$item" >/dev/null || missing+=("$item")
	done
	if command -v pkg-config >/dev/null; then
		for item in 'liburing >= 2.3' 'libnvme >= 1.3' 'libcrypto >= 3.0' 'libmnl >= 1.0.4'; do
			pkg-config --exists "$item" || missing+=("$item")
		done
		((want_tests)) && { pkg-config --exists cmocka || missing+=(cmocka); }
	fi
	((${#missing[@]})) || exit 0
	fail "this is not a Debian system, so please install by hand: $(IFS=,; echo "${missing[*]}")."
}

is_installed()
{
	[[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Debian 12 calls it pkgconf, and its pkg-config package depends on that; older and derived
# systems have a pkg-config of their own that conflicts with it and does as well.
is_present()
{
	is_installed "$1" || { [[ $1 == pkgconf ]] && command -v pkg-config >/dev/null; }
}

lists_are_empty()
{
	! compgen -G '/var/lib/apt/lists/*_Packages*' >/dev/null
}

if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	check_by_hand
fi

packages=("${build_packages[@]}")
((want_tests)) && packages+=("${test_packages[@]}")
((want_bench)) && packages+=("${bench_packages[@]}")
missing=()
for package in "${packages[@]}"; do
	is_present "$package" || missing+=("$package")
done

if ((only_check)); then
	((${#missing[@]})) || exit 0
	fail "not installed: ${missing[*]}."
fi

# The interop VM downloads its kernel through apt, which needs the lists.
need_lists=0
if ((want_tests)) || ((${#missing[@]})); then
	lists_are_empty && need_lists=1
fi
((${#missing[@]} || need_lists)) || exit 0

as_root=()
if ((EUID != 0)); then
	if command -v sudo >/dev/null; then
		as_root=(sudo)
		# Without a terminal nobody can type a password: fail, do not wait.
		[[ -t 0 ]] || as_root=(sudo -n)
	elif ((${#missing[@]})); then
		fail "not root and no sudo here; please run as root: apt-get install --no-install-recommends ${missing[*]}"
	else
		exit 0
	fi
fi
# env: sudo would drop a variable of our environment. debconf must not ask anything (tshark does).
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0
	-o DPkg::Lock::Timeout=300)

log=$(mktemp) || fail "no temporary file could be made"
trap 'rm -f "$log"' EXIT

# What apt prints only matters when it fails.
quietly()
{
	"${apt[@]}" "$@" </dev/null >"$log" 2>&1 && return
	tail -n 30 "$log" >&2
	return 1
}

if ((need_lists)); then
	printf 'Reading the package lists (apt-get update) ...\n'
	if ! quietly update; then
		((${#missing[@]})) || exit 0
		fail "apt-get update failed (its messages are above): no network, or no privilege? Still missing: ${missing[*]}."
	fi
fi
((${#missing[@]})) || exit 0

install=(install -y --no-install-recommends)
printf 'Installing: %s\n' "${missing[*]}"
quietly "${install[@]}" "${missing[@]}" && exit 0
# Lists that have grown old name files that the mirrors no longer have.
printf 'That failed; once more with fresh package lists.\n'
quietly update && quietly "${install[@]}" "${missing[@]}" && exit 0
fail "apt-get could not install what is missing (its messages are above): ${missing[*]}."
