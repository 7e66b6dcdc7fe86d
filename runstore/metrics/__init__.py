"""What users hand over as numbers: made into floats, weighted, counted, ranked."""
