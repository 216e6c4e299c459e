"""`lbflask demo`: three backends, a checker and a balancer on one machine."""
