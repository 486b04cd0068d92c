"""The service's door: HTTP, streams and the command line."""
