"""The CDK stack: one construct per stage, plus storage, alarms and the bundle."""
