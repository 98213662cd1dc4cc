from aws_lambda_powertools import Logger
from hypothesis import settings

# The parent of the modules' loggers, which in Lambda the handler creates.
Logger()

# Derandomized: an unrelated change should not fail on a new finding.
settings.register_profile("unit", deadline=None, max_examples=80, derandomize=True, database=None)
settings.load_profile("unit")
