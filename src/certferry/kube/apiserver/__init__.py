"""The embedded Kubernetes API: a small server for the kinds that Certferry uses, held to the real one.

`certferry kube` and the tests call ``serve``. It runs no pods and no controllers of its own.
"""

from certferry.kube.apiserver.main import running, serve

__all__ = ["running", "serve"]
