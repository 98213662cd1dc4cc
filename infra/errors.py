"""Every error of the deployment, as a tree. Each message is one sentence that says what to change.

DeploymentError
├── ContextError    a setting in cdk.json, or after ``-c``, cannot be used
└── BundleError     the bundle could not be built, or is not for Lambda's architecture
"""


class DeploymentError(Exception):
    """Whatever keeps the stack from being synthesized; `app.py` prints it and ends with 1."""


class ContextError(DeploymentError):
    """A setting cannot be used; the message names the key and says what to put."""


class BundleError(DeploymentError):
    """The bundle could not be built, or is not for Lambda's architecture."""
