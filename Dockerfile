# One image for every service of compose.yaml; which one a container is, its command says.
ARG PYTHON_IMAGE=python:3.12-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_CONSTRAINT=/build/constraints.txt
WORKDIR /build
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY handoff ./handoff
COPY servers ./servers
COPY orchestrator ./orchestrator
RUN pip wheel --no-deps --wheel-dir /wheels . \
 && python -m venv /opt/switchboard \
 && /opt/switchboard/bin/pip install "$(ls /wheels/switchboard_mcp-*.whl)[orchestrator,redis]"

FROM ${PYTHON_IMAGE}
# Volumes that are mounted at /data for the first time take over its owner.
RUN useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin switchboard \
 && install --directory --owner switchboard --group switchboard --mode 0750 /data
COPY --from=build /opt/switchboard /opt/switchboard
ENV PATH=/opt/switchboard/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
CMD ["switchboard", "--help"]
