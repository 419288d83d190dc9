# Completion of cpctl for bash. Installed as bash-completion/completions/cpctl. Asks cpctl itself for the
# verbs, options, kinds and fields, so that it never tells of one that is not there; and the daemon, when it
# answers at once, for ids, nodes and groups.

_cpctl_verbs() { cpctl --help 2>/dev/null | sed -n 's/^  \([a-z]\{1,\}\( [a-z]\{1,\}\)\{0,1\}\) .*/\1/p'; }
_cpctl_options() { # $@: verb
	cpctl "$@" --help 2>/dev/null | sed -n 's/^[ *]*\(--[a-z_.0-9]*\).*/\1/p'
}
_cpctl_kinds() { cpctl send --help 2>/dev/null | sed -n '/^Kinds:/,/^$/s/^  \([a-z-]*\) .*/\1/p'; }
_cpctl_ask() { timeout 2 cpctl ${socket:+--socket "$socket"} "$@" 2>/dev/null; }
_cpctl_ids() { # $@: verbs whose lists tell ids
	local list
	for list in "$@"; do
		_cpctl_ask "$list" | grep -oE '\<[0-9]+/[0-9]+/[0-9]+\>'
	done | sort -u
}
_cpctl_names() { # nodes by number, groups by name
	_cpctl_ask directory | sed -n 's/^ *\([0-9]\{1,\}\)  .*/\1/p; s/^Group [0-9]* \([^ ,]*\), version.*/\1/p'
}

_cpctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} index skip="" socket=""
	local -a words=()
	COMPREPLY=()
	for ((index = 1; index < COMP_CWORD; index++)); do
		if [ -n "$skip" ]; then
			skip=""
			socket=${COMP_WORDS[index]}
			continue
		fi
		case ${COMP_WORDS[index]} in
		--socket) skip=1 ;;
		--*) [ ${#words[@]} -gt 0 ] && break ;;
		*) words+=("${COMP_WORDS[index]}") ;;
		esac
	done
	case $before in
	--precedence) mapfile -t COMPREPLY < <(compgen -W "FLASH IMMEDIATE PRIORITY ROUTINE" -- "$word"); return ;;
	--mode) mapfile -t COMPREPLY < <(compgen -W "REAL EXERCISE TEST" -- "$word"); return ;;
	--closing) mapfile -t COMPREPLY < <(compgen -W "DELIVERED READ ACCEPTED DONE" -- "$word"); return ;;
	--entry) mapfile -t COMPREPLY < <(compgen -W "screen voice paper courier automatic" -- "$word"); return ;;
	--role) mapfile -t COMPREPLY < <(compgen -W "nsp cp desk partner" -- "$word"); return ;;
	--to) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_names)" -- "$word"); return ;;
	--reply-to | --incident) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_ids inbox outbox)" -- "$word"); return ;;
	--supersedes) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_ids outbox)" -- "$word"); return ;;
	--socket | --body | --personal | --conf | --config) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	esac
	if [[ $word == --* ]]; then
		local names="--socket --json --help --version"
		case ${words[0]} in
		"") ;;
		send) names="$names $(_cpctl_options send) ${words[1]:+$(_cpctl_options send "${words[1]}")}" ;;
		region | node | queue | directory | courier) names="$names ${words[1]:+$(_cpctl_options "${words[0]}" "${words[1]}")}" ;;
		*) names="$names $(_cpctl_options "${words[0]}")" ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
		return
	fi
	case ${#words[@]}:${words[0]}${words[1]:+ ${words[1]}} in
	0:*) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_verbs | cut -d' ' -f1 | sort -u) help" -- "$word") ;;
	1:help) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_verbs | cut -d' ' -f1 | sort -u)" -- "$word") ;;
	1:send) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_kinds)" -- "$word") ;;
	1:region | 1:node | 1:queue | 1:directory | 1:courier)
		mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_verbs | sed -n "s/^${words[0]} //p")" -- "$word") ;;
	1:read | 1:accept | 1:refuse | 1:done) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_ids inbox)" -- "$word") ;;
	1:withdraw | "2:queue withdraw") mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_ids outbox)" -- "$word") ;;
	1:show | 1:trace | "2:queue release") mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_ids inbox outbox)" -- "$word") ;;
	"2:queue hold") mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_ids queue)" -- "$word") ;;
	*:region* | *:node* | *:directory* | *:backup* | *:courier* | *:restore* | *:check*) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	esac
}
complete -o filenames -F _cpctl cpctl
