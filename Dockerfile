# One image for both services; docker-compose.yml names the service that a container runs.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY packaging packaging
COPY protos protos
COPY ticketing ticketing
COPY ticket_service ticket_service
COPY scan_service scan_service
RUN python -m venv /opt/ticketing \
    && /opt/ticketing/bin/pip install --no-cache-dir -c constraints.txt ./packaging/client ./packaging/gate .

FROM python:3.11-slim
COPY --from=build /opt/ticketing /opt/ticketing
RUN useradd --system --uid 10001 --home-dir /var/lib/ticketing --create-home ticketing
USER ticketing
WORKDIR /var/lib/ticketing
ENV PATH=/opt/ticketing/bin:$PATH PYTHONUNBUFFERED=1 TICKETING_DATA_DIR=/var/lib/ticketing
STOPSIGNAL SIGTERM
ENTRYPOINT ["python", "-m"]
CMD ["ticket_service"]
