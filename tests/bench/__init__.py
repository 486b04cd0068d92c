"""What the service can do on this machine: `make bench`. Each module measures one thing."""
