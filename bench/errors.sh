#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# What users do wrong, and the one sentence they get: usage errors.sh BUILD_DIR [--tap].
# Each case must end with the status it should, with exactly one line on stderr that names what
# was wrong and what to do (the words looked for). Without --tap: command, exit status, sentence.
set -u
usage="usage: errors.sh BUILD_DIR [--tap]"
build=${1:?$usage}
tap=0
[[ ${2:-} == --tap ]] && tap=1
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=tests/tools/tap.sh
source "$here/../tests/tools/tap.sh"

perf=$build/examples/nvmf-perf
info=$build/examples/nvmf-info
misuse=$build/bench/misuse
deny=$build/bench/deny
nqn=nqn.2024-01.org.example:disk
private=nqn.2024-01.org.example:private
readonly_nqn=nqn.2024-01.org.example:archive
work=$(mktemp -d) || exit 1
target=
namespace_target=
cleanup()
{
	[[ -n $target ]] && kill "$target" 2>/dev/null
	[[ -n $namespace_target ]] && kill "$namespace_target" 2>/dev/null
	rm -rf "$work"
}
trap cleanup EXIT

# start_target FIFO COMMAND...: sets started to its process and port to where it listens.
start_target()
{
	local fifo=$1 line
	shift
	mkfifo "$fifo"
	"$@" >"$fifo" 2>"$work/target-errors" &
	started=$!
	if ! read -r -t 10 line <"$fifo" || [[ ! $line =~ :([0-9]+)( |$) ]]; then
		printf 'errors.sh: the target did not start: %s\n' "$(<"$work/target-errors")" >&2
		return 1
	fi
	port=${BASH_REMATCH[1]}
}

# judge STATUS WORDS COMMAND...: WORDS are extended regular expressions, one per line.
judge()
{
	local want=$1 words=$2 status lines word
	shift 2
	timeout 60 "$@" >"$work/out" 2>"$work/err" </dev/null
	status=$?
	lines=$(wc -l <"$work/err")
	if ((!tap)); then
		printf '$'
		printf ' %s' "${@#"$build"/*/}"
		printf '\n  exit status %d\n' "$status"
		sed 's/^/  /' "$work/err"
		((want)) || grep -E "${words//$'\n'/|}" "$work/out"
		printf '\n'
	fi
	if ((status != want)); then
		printf 'exit status %d instead of %d: %s\n' "$status" "$want" "$(<"$work/err")"
		return 1
	fi
	if ((lines != (want != 0))); then
		printf '%d lines on stderr:\n%s\n' "$lines" "$(<"$work/err")"
		return 1
	fi
	while read -r word; do
		grep -qE -- "$word" "$work/err" "$work/out" && continue
		printf 'nothing like "%s" in: %s\n' "$word" "$(cat "$work/err" "$work/out")"
		return 1
	done <<<"$words"
}

failures=0
# expect NAME STATUS WORDS COMMAND...
expect()
{
	local name=$1
	shift
	if ((tap)); then
		tap_ok "$name" judge "$@"
		return
	fi
	printf '%s\n' "$name"
	judge "$@" && return
	failures=$((failures + 1))
}

start_target "$work/fifo" "$build/target/nvmf-target" --listen=127.0.0.1:0 \
	--nqn="$nqn" --ns=mem:16M,bs=4096 \
	--nqn="$private" --ns=mem:1M,bs=4096 --allow-host=nqn.2024-01.org.example:other-host \
	--nqn="$readonly_nqn" --ns=mem:1M,bs=4096,ro || exit 1
target=$started
at=nvme+tcp://127.0.0.1:$port

# A port that was free a moment ago: bound without listening, nobody else gets it meanwhile.
coproc holder { exec python3 -c 'import socket, sys
s = socket.socket()
s.bind(("127.0.0.1", 0))
print(s.getsockname()[1], flush=True)
sys.stdin.read()'; }
read -r -t 10 -u "${holder[0]}" closed || exit 1

for tool in "$perf" "$info"; do
	of="$(basename "$tool"):"
	expect "$of wrong host name" 1 $'no-such-host.invalid\nspelling' \
		"$tool" "nvme+tcp://no-such-host.invalid/$nqn"
	expect "$of refused port" 1 $'connection refused\nis the target running' \
		"$tool" "nvme+tcp://127.0.0.1:$closed/$nqn"
	expect "$of wrong NQN" 1 "knows no subsystem named \"$nqn-x\""$'\n'"nvmf-info nvme.tcp://127.0.0.1:$port$" \
		"$tool" "$at/$nqn-x"
	expect "$of a namespace that is not there" 1 $'no active namespace 7\n1 is active\n--list' \
		"$tool" "$at/$nqn/7"
	expect "$of a host that is not allowed" 1 \
		"\"$private\" does not allow this host"$'\nlist of hosts\nhostnqn' "$tool" "$at/$private"
	expect "$of URI of another scheme" 2 'starts with nvme\+tcp://' "$tool" "http://127.0.0.1/$nqn"
	expect "$of URI without a scheme" 2 'starts with nvme\+tcp://' "$tool" "127.0.0.1/$nqn"
	expect "$of URI with a bad port" 2 '1 to 65535' "$tool" "nvme+tcp://127.0.0.1:99999/$nqn"
	expect "$of URI with an unknown key" 2 $'unknown key "nr_io_queue"\nnr_io_queues' \
		"$tool" "$at/$nqn?nr_io_queue=3"
	expect "$of URI with a bad value" 2 $'mptcp=yes\nprefer, require or off' \
		"$tool" "$at/$nqn?mptcp=yes"
done

expect "I/O size that is no multiple of the block size" 2 \
	$'--bs=1000\nblocks of 4096 bytes' "$perf" --bs=1000 "$at/$nqn"
expect "more than the namespace has" 2 $'--size=1 GiB\nends at 16 MiB\nsmaller' \
	"$perf" --size=1g "$at/$nqn"
expect "writing to a read-only namespace" 1 'write protected' \
	"$perf" --rw=randwrite "$at/$readonly_nqn"
expect "unaligned request" 1 $'nof_pread|read\nmultiples of the namespace.s block size, 4096' \
	"$misuse" unaligned "$at/$nqn"
expect "read past the end" 1 $'past the end of namespace 1\n4096 blocks of 4096 bytes' \
	"$misuse" past-the-end "$at/$nqn"
expect "write to a read-only namespace" 1 $'write protected\nfor reading only' \
	"$misuse" read-only "$at/$readonly_nqn"

if "$deny" true 2>/dev/null; then
	expect "io_uring demanded, but not permitted" 1 \
		$'not permitted\nkernel.io_uring_disabled\nengine=epoll' \
		"$deny" "$perf" --runtime=0.1 "$at/$nqn?engine=io_uring"
	expect "io_uring demanded, but the kernel has none" 1 $'no io_uring\nengine=epoll' \
		"$deny" --enosys "$perf" --runtime=0.1 "$at/$nqn?engine=io_uring"
	expect "io_uring not permitted, and not demanded: epoll and the reason" 0 \
		$'epoll\nkernel.io_uring_disabled' "$deny" "$perf" --runtime=0.1 "$at/$nqn"
elif ((tap)); then
	tap_skip "io_uring not permitted" "this system does not allow seccomp filters"
fi

# MPTCP switched off in a network namespace of its own: nothing of this machine changes.
no_mptcp='ip link set lo up && sysctl -qw net.mptcp.enabled=0 && exec "$@"'
if unshare -n bash -c "$no_mptcp" - true 2>/dev/null; then
	start_target "$work/fifo2" unshare -n bash -c "$no_mptcp" - "$build/target/nvmf-target" \
		--listen=127.0.0.1:0 --nqn="$nqn" --ns=mem:16M,bs=4096 || exit 1
	namespace_target=$started
	inside=(nsenter -t "$namespace_target" -n --)
	away=nvme+tcp://127.0.0.1:$port/$nqn
	expect "MPTCP demanded, but switched off" 1 $'mptcp=require\nsysctl net.mptcp.enabled=1' \
		"${inside[@]}" "$perf" --runtime=0.1 "$away?mptcp=require"
	expect "MPTCP preferred, but switched off: TCP and the reason" 0 \
		$'TCP: MPTCP is switched off\nsysctl net.mptcp.enabled=1' \
		"${inside[@]}" "$perf" --runtime=0.1 "$away?mptcp=prefer"
elif ((tap)); then
	tap_skip "MPTCP switched off" "network namespaces cannot be made here (not root?)"
fi

# A target without MPTCP: the connection falls back, silently as far as the kernel goes.
start_target "$work/fifo3" "$build/target/nvmf-target" --listen=127.0.0.1:0 --mptcp=off \
	--nqn="$nqn" --ns=mem:16M,bs=4096 || exit 1
plain=$started
expect "MPTCP demanded, but the target has none" 1 $'mptcp=require\ntarget' \
	"$perf" --runtime=0.1 "nvme+tcp://127.0.0.1:$port/$nqn?mptcp=require"
kill "$plain"

if ((tap)); then
	tap_end
	exit
fi
if ((failures)); then
	printf '%d sentences are not as they should be\n' "$failures"
	exit 1
fi
