"""The WebSocket side: what happens now, pushed to whoever asked for it.

``frames`` writes bytes, ``messages`` says what they mean, ``topics`` names them, ``audience`` finds who
wants them, ``client`` keeps the two lanes of one reader, ``hub`` ties these together, and ``socket`` is the
endpoint.
"""
