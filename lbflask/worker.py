"""The import path of the worker class that users name: `worker_class = "lbflask.worker.ProxyWorker"`."""

from lbflask.server.worker.proxy_worker import ProxyWorker

__all__ = ["ProxyWorker"]
