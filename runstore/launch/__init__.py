"""How a run is opened: which directory and which attempt, after what earlier ones left."""
