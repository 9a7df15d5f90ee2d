"""What is shown and what alarms: dashboards for Grafana, rules and alerts for Prometheus."""
