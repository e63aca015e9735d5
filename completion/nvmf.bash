# bash completion for nvmf-copy, nvmf-info, nvmf-perf, nvmf-relay and nvmf-target
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# Knows no option by itself: each tool prints its own table (--bash-options), which is the one it
# parses with, so that this can never be out of date. Needs nothing of the bash-completion package.

# _nvmf_values VALUES WORD BEFORE TABLE: words, names of files or URIs, each with BEFORE in front.
_nvmf_values()
{
	if [[ $1 == @file ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -P "$3" -f -- "$2")
	elif [[ $1 == @uri ]]; then
		_nvmf_operand "$(sed 's/^operands .*/operands uri/' <<<"$4")" "$2"
		COMPREPLY=("${COMPREPLY[@]/#/"$3"}")
	else
		mapfile -t COMPREPLY < <(compgen -P "$3" -W "$1" -- "$2")
	fi
}

# _nvmf_option TABLE OPTION [SIGN]: the values of an option in REPLY; false when there is no such
# option, or when it takes no value behind a SIGN.
_nvmf_option()
{
	local line

	while IFS= read -r line; do
		[[ $line == "$2="* || ($line == "$2[=]"* && -n ${3-}) ]] || continue
		line=${line#*=}
		line=${line#]}
		REPLY=${line# }
		return 0
	done <<<"$1"
	return 1
}

_nvmf_names()
{
	local line names=

	while IFS= read -r line; do
		[[ $line == --* ]] || continue
		line=${line%% *}
		names+=" ${line%"[=]"}"
	done <<<"$1"
	mapfile -t COMPREPLY < <(compgen -W "$names" -- "$2")
	[[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2>/dev/null
}

_nvmf_operand()
{
	local operands keys rest

	operands=" $(sed -n 's/^operands //p' <<<"$1") "
	if [[ $2 == *://*\?* ]]; then
		rest=${2##*[?&]}
		[[ $rest == *=* ]] && return
		keys=$(sed -n 's/^keys //p' <<<"$1")
		mapfile -t COMPREPLY < <(compgen -P "${2%"$rest"}" -S = -W "$keys" -- "$rest")
		compopt -o nospace 2>/dev/null
		return
	fi
	[[ $2 == *://* ]] && return
	if [[ $operands == *' file '* ]]; then
		compopt -o filenames 2>/dev/null
		mapfile -t COMPREPLY < <(compgen -f -- "$2")
	fi
	if [[ $operands == *' uri '* && nvme+tcp:// == "$2"* ]]; then
		COMPREPLY+=(nvme+tcp://)
		compopt -o nospace 2>/dev/null
	fi
}

_nvmf()
{
	local line=${COMP_LINE:0:COMP_POINT} cur prev table breaks= sign replaced i REPLY

	COMPREPLY=()
	table=$("$1" --bash-options 2>/dev/null) || return 0
	# The whole word: bash splits it at the signs of COMP_WORDBREAKS, among them : and =.
	cur=${line##*[[:space:]]}
	prev=${line%"$cur"}
	prev=${prev%"${prev##*[![:space:]]}"}
	prev=${prev##*[[:space:]]}
	if [[ $cur == --*=* ]]; then
		_nvmf_option "$table" "${cur%%=*}" = &&
			_nvmf_values "$REPLY" "${cur#*=}" "${cur%%=*}=" "$table"
	elif [[ $prev == --* && $prev != *=* ]] && _nvmf_option "$table" "$prev"; then
		_nvmf_values "$REPLY" "$cur" '' "$table"
	elif [[ $cur == -* ]]; then
		_nvmf_names "$table" "$cur"
	else
		_nvmf_operand "$table" "$cur"
	fi
	# Of the answer readline wants only what comes behind the last such sign.
	for sign in : =; do
		[[ $COMP_WORDBREAKS == *"$sign"* ]] && breaks+=$sign
	done
	[[ -n $breaks && $cur == *["$breaks"]* ]] || return 0
	replaced=${cur%"${cur##*["$breaks"]}"}
	for i in "${!COMPREPLY[@]}"; do
		COMPREPLY[i]=${COMPREPLY[i]#"$replaced"}
	done
}

complete -F _nvmf nvmf-copy nvmf-info nvmf-perf nvmf-relay nvmf-target
