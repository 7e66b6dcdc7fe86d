# fish 3 or newer: completion of runstore and runstore-tui. `runstore completion --help` says where
# this goes.

function __runstore_complete
    set -l words (commandline -opc)
    set -l typed (string unescape -- (commandline -ct))
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    # fish replaces the whole word, also of --option=value.
    set -l option (string match -r -- '^--[^=]*=' "$typed")
    for line in (_RUNSTORE_COMPLETE=fish_complete _RUNSTORE_TUI_COMPLETE=fish_complete \
            $program $words[2..] "$typed" 2>/dev/null)
        set -l item (string split \t -- $line)
        switch $item[1]
            case dir
                printf '%s\n' "$option"(__fish_complete_directories \
                    (string replace -- "$option" '' "$typed"))
            case file
                __fish_complete_path "$typed"
            case command
                __fish_complete_command
            case run plain
                printf '%s\t%s\n' "$option$item[2]" "$item[3]"
        end
    end
end

complete --command runstore --no-files --keep-order --arguments '(__runstore_complete)'
complete --command runstore-tui --no-files --keep-order --arguments '(__runstore_complete)'
