"""The same deployment on one machine: no AWS account, no Docker."""
