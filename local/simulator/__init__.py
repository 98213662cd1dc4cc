"""A simulator of the Message Batches API: a real HTTP server, with faults on request.

>>> simulator = Simulator(folder, fates={"expired": 0.03})
>>> simulator.arm("lost_answer")
>>> with serving(simulator) as url:
...     client = anthropic.Anthropic(base_url=url, api_key="sk-local", max_retries=0)
"""

from local.simulator.catalog import FAULTS
from local.simulator.server import serving
from local.simulator.simulator import Simulator

__all__ = ["FAULTS", "Simulator", "serving"]
