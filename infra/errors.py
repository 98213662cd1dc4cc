"""The errors of the deployment, as a tree. Each message is one sentence that says what to change.

DeploymentError
├── ContextError        a setting in cdk.json, or after ``-c``, cannot be used
├── BundleError         the bundle could not be built, or is not for Lambda's architecture
└── StaleTemplateError  infra/stack.template.json is older than cdk.json or infra/
"""


class DeploymentError(Exception):
    """The stack cannot be built; `app.py` prints the message and exits with 1."""


class ContextError(DeploymentError):
    """A setting cannot be used; the message names the key and its allowed values."""


class BundleError(DeploymentError):
    """The bundle could not be built, or is not for Lambda's architecture."""


class StaleTemplateError(DeploymentError):
    """infra/stack.template.json is older than its sources; the message names the command that updates it."""
