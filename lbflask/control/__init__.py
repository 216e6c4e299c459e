"""The control plane: what the balancer says of itself, and what operators may ask of it."""
