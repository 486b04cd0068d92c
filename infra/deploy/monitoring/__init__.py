"""What is watched, and how: Prometheus, Grafana, Loki (contract metrics.md 2 to 5)."""
