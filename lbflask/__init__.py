"""lbflask: an HTTP load balancer whose many processes, on many machines, balance as one."""

from importlib.metadata import version

__version__ = version("lbflask")
