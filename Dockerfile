# The recorder, for docker-compose.yml. Two stages: the second has the installed program and no build tools.
# The demo trading process (examples/demo_trader.py) and the extra `news` are in the image too; the embedded PostgreSQL and
# the other extras are not.

FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE CHANGELOG.md ./
COPY scripts/constraints.py scripts/
RUN python scripts/constraints.py uv.lock > constraints.txt && \
    python -m venv --without-pip /opt/decahertz
COPY client client
COPY decahertz decahertz
COPY collectors collectors
COPY storage storage
COPY exporter exporter
COPY control control
COPY providers providers
COPY api api
RUN python -m pip --python /opt/decahertz/bin/python install --no-cache-dir --disable-pip-version-check \
    --quiet --constraint constraints.txt ".[news]" ./client

FROM python:3.13-slim-bookworm
RUN groupadd --gid 1000 decahertz && \
    useradd --uid 1000 --gid 1000 --no-create-home --home-dir /var/lib/decahertz decahertz && \
    install --directory --owner 1000 --group 1000 --mode 0700 /var/lib/decahertz && \
    install --directory --owner 1000 --group 1000 --mode 0755 /etc/alertmanager
COPY --from=build /opt/decahertz /opt/decahertz
# The base image has no bytecode of the standard library: each start would compile what it imports, for half a second.
RUN /opt/decahertz/bin/python -c "import decahertz.app.cli, decahertz.app.health, decahertz.app.pipeline, decahertz.app.up"
COPY examples/demo_trader.py /opt/decahertz/examples/
COPY examples/demo /opt/decahertz/examples/demo
ENV PATH=/opt/decahertz/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    DECAHERTZ_DATA_DIR=/var/lib/decahertz \
    DECAHERTZ_LOG_FORMAT=json
USER 1000:1000
WORKDIR /var/lib/decahertz
VOLUME /var/lib/decahertz
EXPOSE 8000 9464
HEALTHCHECK --interval=15s --timeout=6s --start-period=60s --retries=3 CMD ["decahertz", "health"]
ENTRYPOINT ["decahertz"]
CMD ["up"]
