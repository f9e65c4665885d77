"""Own the network, the disk and the clock."""
