# syntax=docker/dockerfile:1
# audit on the CPU, as a user without rights.
#
#   docker build --tag audit .
#   docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/work" audit scan music/
#
# The workspace (.audit) and the reports land in the folder mounted on /work.

FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/audit
WORKDIR /src
COPY constraints.txt ./
COPY pyproject.toml README.md LICENSE ./
COPY thresholds/ thresholds/
COPY auditor/ auditor/
COPY beetsplug/ beetsplug/
RUN /opt/audit/bin/pip install --constraint constraints.txt ".[serve]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/audit /opt/audit
RUN useradd --uid 10001 --create-home audit && install --directory --owner audit /work
# any user may run it: nothing is written but to /work and /tmp
ENV PATH=/opt/audit/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1
USER 10001
WORKDIR /work
ENTRYPOINT ["audit"]
CMD ["--help"]
