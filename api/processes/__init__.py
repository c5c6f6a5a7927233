"""API processes of their own: the recorder feeds them its bus, and answers what only it knows.

See docs/adr/0009-api-processes.md.
"""
