# One published port in front of any number of services: HAProxy from Debian, on the base image the service shares.
FROM python:3.11-slim-bookworm
RUN apt-get update && apt-get install -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/*
COPY docker/gateway /etc/magnet
USER haproxy
EXPOSE 8000
ENTRYPOINT ["haproxy", "-W", "-db", "-f", "/etc/magnet/haproxy.cfg"]
