#compdef runstore runstore-tui
# zsh 5 or newer: completion of runstore and runstore-tui. `runstore completion --help` says where
# this goes.

_runstore() {
    local program=${${(Q)words[1]}/#\~\//$HOME/} typed=${(Q)PREFIX} line word
    local -a before=("${(@Q)words[2,CURRENT-1]}") fields runs plain
    # The words are arguments, without quotes; the last one is what stands before the cursor.
    local -a answer=("${(@f)$(_RUNSTORE_COMPLETE=zsh_complete _RUNSTORE_TUI_COMPLETE=zsh_complete \
        $program "${(@)before}" "$typed" 2>/dev/null)}")
    # The value of --option=value is completed by itself.
    [[ $typed == --*=* ]] && compset -P 1 '--*='
    for line in $answer; do
        fields=("${(@ps:\t:)line}")
        # _describe takes what it gets apart at a colon.
        word=${${fields[2]//\\/\\\\}//:/\\:}${fields[3]:+:$fields[3]}
        case $fields[1] in
            dir) _path_files -/ ;;
            file) _files ;;
            command) _command_names -e ;;
            run) runs+=("$word") ;;
            plain) plain+=("$word") ;;
        esac
    done
    # -V keeps the order; -U takes words that begin otherwise, as the ids that a name stands for.
    (( $#runs )) && _describe -V run runs -U
    (( $#plain )) && _describe -V argument plain -U
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _runstore "$@"
else
    compdef _runstore runstore runstore-tui
fi
