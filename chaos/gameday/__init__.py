"""Game day: incidents in a real fleet, each of which must be named by a surface, and ended by the remedy it names."""
