"""What the stages do, one file a step, named as in the design: receive, plan, send, and so on."""
