"""The parts of the embedded PostgreSQL; :mod:`storage.postgres.embedded` puts them together.

* :mod:`~storage.postgres.installation`: where the programs come from
* :mod:`~storage.postgres.cluster`: what is where in a data directory, and who may use it
* :mod:`~storage.postgres.settings`: how the server is set up
* :mod:`~storage.postgres.creation`: a new data directory
* :mod:`~storage.postgres.process`: running the programs
* :mod:`~storage.postgres.launcher`: the script between us and a program
* :mod:`~storage.postgres.log`: what the server says
"""
