# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash
# TAP from shell tests: source it, then tap_ok/tap_skip per case and tap_end at the end.
tap_count=0
tap_failed=0

# tap_ok NAME COMMAND...: the case passes when the command succeeds; else its output is shown.
tap_ok()
{
	local name=$1 out
	shift
	tap_count=$((tap_count + 1))
	if out=$("$@" 2>&1); then
		printf 'ok %d - %s\n' "$tap_count" "$name"
		return 0
	fi
	tap_failed=$((tap_failed + 1))
	printf 'not ok %d - %s\n' "$tap_count" "$name"
	printf '%s\n' "$out" | head -n 60 | sed 's/^/# /'
	return 1
}

# tap_skip NAME REASON
tap_skip()
{
	tap_count=$((tap_count + 1))
	printf 'ok %d - %s # SKIP %s\n' "$tap_count" "$1" "$2"
}

tap_end()
{
	printf '1..%d\n' "$tap_count"
	((tap_failed == 0))
}
