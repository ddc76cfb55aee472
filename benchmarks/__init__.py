"""The gateway beside others on one machine: what a request costs. README.md here is the map."""
