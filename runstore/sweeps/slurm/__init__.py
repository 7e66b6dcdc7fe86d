"""A sweep on a cluster: each cell is a job of Slurm that is requeued until it has finished."""
