"""What a shell offers at Tab: the runs that are there, and the scripts for bash, zsh and fish."""
