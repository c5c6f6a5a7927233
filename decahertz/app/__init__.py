"""The program: the pipeline that puts all parts together, and one module for each command."""
