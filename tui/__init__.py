"""The runstore monitor: a live view of run directories in any terminal."""
