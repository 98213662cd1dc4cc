"""A picture of the dashboard: its definition as deployed, filled with the metrics of a made-up day."""
