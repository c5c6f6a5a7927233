"""Decahertz: the flight recorder of a trading system.

This package is the contract: plugin authors import from here and from nowhere else. What a name
means is written in the module that holds it:

* :mod:`decahertz.metric`: a metric and its unit, declared once
* :mod:`decahertz.sample`: the state of one thing at one instant of the grid
* :mod:`decahertz.event`: a fact that happened once
* :mod:`decahertz.collector`, :mod:`decahertz.feed`: the two kinds of plugin and their life cycles
* :mod:`decahertz.clock`: wall and monotonic time, and the 10 Hz grid
* :mod:`decahertz.bus`: publish and subscribe inside the process
* :mod:`decahertz.wire`: JSON and MessagePack
* :mod:`decahertz.settings`: typed settings and where they come from
* :mod:`decahertz.testing`: the conformance suite and fakes for plugin authors
"""

__version__ = "0.1.0"
