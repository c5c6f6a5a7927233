"""The program: the pipeline that assembles all parts, and one module for each command."""
