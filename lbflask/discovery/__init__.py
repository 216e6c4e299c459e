"""Discovery of backends: sources that return the current backends, and the loop that polls one."""
