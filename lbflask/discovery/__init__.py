"""Finding backends: sources that say which there are now, and the loop that follows one through its failures."""
