"""What runs in Lambda: three handlers over a package for each stage, the model and the adapters."""
