"""A run's files: their names, their lines, and how they are opened, followed, cut and renamed."""
