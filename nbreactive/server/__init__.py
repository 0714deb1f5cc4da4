"""The doors: sync protocol, HTTP, administration; and the assembly of a backend."""
