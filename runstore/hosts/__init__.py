"""Other machines: how they are named, reached by ssh, and what they are doing."""
