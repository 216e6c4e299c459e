"""lbflask: an HTTP load balancer whose many processes, on many machines, balance as one."""

__version__ = "0.1.0"
