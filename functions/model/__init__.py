"""The model: items, events, outcomes, prices and plans, without AWS and without Anthropic."""
