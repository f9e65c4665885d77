"""The order of work; they know ports, not clients."""
