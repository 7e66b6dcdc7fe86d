"""What a run is: folds of its records, and what follows from them; nothing here writes."""
