"""The demo: three backends, a checker and a balancer on this machine."""
