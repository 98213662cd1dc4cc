"""Run the deployed stack on one machine, without an AWS account or Docker."""
