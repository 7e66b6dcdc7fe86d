"""Images: logged as grids, read back within bounds, made into animations."""
