"""The command line, `app-manager`: the only place that may import every folder, as it puts the roles together."""
