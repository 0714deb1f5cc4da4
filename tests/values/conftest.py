"""Examples may take their time: this machine may be doing something else."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nbreactive", deadline=None)
settings.load_profile("nbreactive")
