"""What scale costs and what limits it: calls counted on the real handlers, prices, and a simulation of arrivals."""
