"""The control plane: health, metrics, admin API and dashboard."""
