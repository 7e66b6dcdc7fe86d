"""`runstore exec`: a command whose output, rows and end become a run, whatever the command is."""
