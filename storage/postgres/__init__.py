"""The embedded PostgreSQL.

* :mod:`~storage.postgres.supervisor`: keeps a server running
* :mod:`~storage.postgres.embedded`: one server, from start to stop
* :mod:`~storage.postgres.installation`: finds the programs of PostgreSQL
* :mod:`~storage.postgres.cluster`: files, owner and lock of a data directory
* :mod:`~storage.postgres.settings`: configuration of the server
* :mod:`~storage.postgres.creation`: creates a data directory
* :mod:`~storage.postgres.process`: runs the programs
* :mod:`~storage.postgres.launcher`: script that turns into a program of PostgreSQL
* :mod:`~storage.postgres.log`: log file of the server
"""
