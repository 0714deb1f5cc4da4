"""A service of a JupyterHub: one backend for the servers of many users (``nbreactive serve --hub``).

The Hub says who is asking, by its tokens and, in browsers, by OAuth; its scopes say what they may. What it admits is passed
on to the backend as behind a Jupyter server (:mod:`nbreactive.jupyter`). Needs the package jupyterhub.
"""
