"""What is deployed: one construct a stage, over storage, alarms and the bundle."""
