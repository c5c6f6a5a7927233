"""The parts of the demo trading process, ``demo_trader.py``."""
