# bash 4.4 or newer: completion of runstore and runstore-tui. `runstore completion --help` says
# where this goes.

_runstore_completion() {
    local kind word program=${1/#\~\//$HOME/}
    COMPREPLY=()
    while IFS=$'\t' read -r kind word; do
        case $kind in
            dir) compopt -o plusdirs ;;
            file) compopt -o default ;;
            command) mapfile -t COMPREPLY < <(compgen -c -- "$2") ;;
            run | plain) COMPREPLY+=("$word") ;;
        esac
    # The line, because bash takes its words apart at "=" and ":"; and what it will replace of it.
    done < <(_RUNSTORE_COMPLETE=bash_complete _RUNSTORE_TUI_COMPLETE=bash_complete \
        "$program" "${COMP_LINE:0:COMP_POINT}" "${2:+${COMP_WORDS[COMP_CWORD]}}" 2>/dev/null)
}

complete -o nosort -F _runstore_completion runstore runstore-tui
