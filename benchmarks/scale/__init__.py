"""Costs and limits at scale: calls counted on the real handlers, prices, and a simulation of arrivals."""
