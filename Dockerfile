# One image for both services; docker-compose.yml names the service that a container runs.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY packaging packaging
COPY protos protos
COPY ticketing ticketing
COPY ticket_service ticket_service
COPY scan_service scan_service
# The installer, tests of packages and headers of Cython are of no use in a container that serves.
RUN python -m venv /opt/ticketing \
    && /opt/ticketing/bin/pip install --no-cache-dir -c constraints.txt ./packaging/client ./packaging/gate . \
    && /opt/ticketing/bin/pip uninstall --yes pip setuptools \
    && find /opt/ticketing -type d -name tests -prune -exec rm -r {} +

FROM python:3.11-slim
ARG VERSION=unknown
LABEL org.opencontainers.image.title="Ticketing" \
      org.opencontainers.image.description="Event ticketing with QR codes: two gRPC services" \
      org.opencontainers.image.version=$VERSION \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/ticketing /opt/ticketing
# The folders belong to the user, and so do the volumes that are mounted there.
RUN useradd --system --uid 10001 --home-dir /var/lib/ticketing --create-home ticketing \
    && install -d -o ticketing /run/development
USER ticketing
WORKDIR /var/lib/ticketing
ENV PATH=/opt/ticketing/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TICKETING_DATA_DIR=/var/lib/ticketing
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m"]
CMD ["ticket_service"]
