"""What deploys the service, checked by the tools of its own kind: `make check-deploy`."""
