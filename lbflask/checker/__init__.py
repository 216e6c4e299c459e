"""The health checker: schedules probes, derives health from them, and publishes it to the fleet."""
