"""What happened, told once: an event for each request, read by whoever wants to know."""
