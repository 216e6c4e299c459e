"""The health checker: when to probe, what to make of it, and telling the fleet."""
