"""Slurm: what the queue knows of jobs, and the job that is to begin a run."""
