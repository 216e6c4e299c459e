"""What may break is broken, under load and with real processes, and what clients notice of it is counted."""
