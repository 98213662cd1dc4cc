"""Exports: the results once more, in the shapes that other tools read.

To add an export, add a module that implements `contract.Export` and a line to `EXPORTS`.
"""

from functions.exports import bedrock, openai, parquet, results_csv
from functions.exports.contract import Export

EXPORTS: dict[str, Export] = {
    "csv": results_csv,
    "parquet": parquet,
    "openai": openai,
    "bedrock": bedrock,
}
"""The exports, by their names in the option `outputs`."""
