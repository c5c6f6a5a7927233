"""Reads the provisioning and runs the queries of the dashboards as Grafana does.

Tests, benchmarks and the pictures of the docs use it; nothing of the product imports it. The rules are
those of Grafana's packages ``grafana-data``, ``grafana-sql``, ``grafana-prometheus`` and ``scenes``, and of
the Go packages ``promlib`` and ``grafana-postgresql-datasource``.
"""
