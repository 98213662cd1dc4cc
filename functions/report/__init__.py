"""The report: `report.html`, one page about a finished job, for people. Pure: bytes from figures and rows."""
