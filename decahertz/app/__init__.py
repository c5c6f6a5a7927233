"""The program: the pipeline that assembles all parts, and one module for each command."""

API_PROCESS = "--api-process"
"""Option of ``python -m decahertz`` that makes it an API process; the descriptor of its socket follows."""
