"""Decahertz: the flight recorder of a trading system.

This package is the contract: plugin authors import only from here.

* :mod:`decahertz.metric`: a metric and its unit, declared once
* :mod:`decahertz.sample`: the state of one thing at one cycle of the grid
* :mod:`decahertz.event`: a fact that happened once
* :mod:`decahertz.collector`, :mod:`decahertz.feed`: the two kinds of plugins and their life cycles
* :mod:`decahertz.clock`: wall and monotonic time, and the 10 Hz grid
* :mod:`decahertz.bus`: publish and subscribe within the process
* :mod:`decahertz.wire`: JSON and MessagePack
* :mod:`decahertz.settings`: the loader of typed settings
* :mod:`decahertz.testing`: the conformance suite and fakes for plugin authors
"""

__version__ = "0.1.0"
