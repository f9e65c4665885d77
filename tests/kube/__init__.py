"""The chart on a real cluster, under load and faults: `make kube`."""
