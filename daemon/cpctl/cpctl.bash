# Completion of cpctl for bash. Installed as bash-completion/completions/cpctl. Asks cpctl itself for the
# verbs, options, kinds and fields, so that it never tells of one that is not there. Needs no daemon.

# The lines of help that begin with what is asked for.
_cpctl_verbs() { cpctl --help 2>/dev/null | sed -n 's/^  \([a-z][a-z ]*[a-z]\).*/\1/p'; }
_cpctl_options() { # $@: verb
	cpctl "$@" --help 2>/dev/null | sed -n 's/^[ *]*\(--[a-z_.0-9]*\).*/\1/p'
}
_cpctl_kinds() { cpctl send --help 2>/dev/null | sed -n '/^Kinds:/,/^$/s/^  \([a-z-]*\) .*/\1/p'; }

_cpctl() {
	local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} index skip=0
	local -a words=()
	COMPREPLY=()
	for ((index = 1; index < COMP_CWORD; index++)); do
		if [ "$skip" = 1 ]; then
			skip=0
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
	--socket | --body | --conf) mapfile -t COMPREPLY < <(compgen -f -- "$word"); return ;;
	esac
	if [[ $word == --* ]]; then
		local names="--socket --json --help --version"
		case ${words[0]} in
		"") ;;
		send) names="$names $(_cpctl_options send) ${words[1]:+$(_cpctl_options send "${words[1]}")}" ;;
		region | node) names="$names ${words[1]:+$(_cpctl_options "${words[0]}" "${words[1]}")}" ;;
		*) names="$names $(_cpctl_options "${words[0]}")" ;;
		esac
		mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
		return
	fi
	case ${#words[@]}:${words[0]} in
	0:*) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_verbs | cut -d' ' -f1 | sort -u) help" -- "$word") ;;
	1:send) mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_kinds)" -- "$word") ;;
	1:region | 1:node | 1:queue | 1:directory)
		mapfile -t COMPREPLY < <(compgen -W "$(_cpctl_verbs | sed -n "s/^${words[0]} //p")" -- "$word") ;;
	*:region | *:node | *:directory) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
	esac
}
complete -o filenames -F _cpctl cpctl
