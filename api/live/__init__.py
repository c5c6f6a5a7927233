"""The WebSocket side: pushes live samples and events to subscribed clients.

``frames`` encodes WebSocket frames, ``messages`` declares the protocol, ``audience`` finds the subscribers of
a topic, ``client`` keeps the two lanes of one client, ``hub`` routes from the bus to the clients, and
``endpoint`` serves ``/ws``.
"""
