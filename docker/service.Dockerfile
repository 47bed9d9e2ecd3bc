# The service on the CPU: no torch, no compiler, no root.
FROM python:3.11-slim-bookworm AS build
# pip's own configuration, where the build needs it; empty means pip's defaults.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
RUN python -m venv /opt/magnet
WORKDIR /src
# Dependencies first: this layer is rebuilt only when they change.
COPY pyproject.toml README.md LICENSE ./
COPY model_store/__init__.py model_store/version.py model_store/
RUN /opt/magnet/bin/pip install --no-cache-dir --no-compile '.[serve]'
COPY model_store model_store
COPY service service
RUN /opt/magnet/bin/pip install --no-cache-dir --no-compile --no-deps --force-reinstall . \
  && /opt/magnet/bin/pip uninstall --yes pip setuptools
# What Arrow brings beyond Parquet files is a third of it; the import says whether something needed went too.
RUN cd /opt/magnet/lib/python3*/site-packages/pyarrow \
  && rm -rf include src tests ./*flight* ./_s3fs* libarrow_s3* \
  && /opt/magnet/bin/python -P -c 'import pyarrow.parquet'

FROM python:3.11-slim-bookworm
COPY --from=build /opt/magnet /opt/magnet
ENV PATH=/opt/magnet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Made here so that volumes mounted over them belong to the user who writes them.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin magnet \
  && install -d -o magnet -g magnet /store /keys /events
COPY docker/make-keys /usr/local/bin/make-keys
USER magnet
WORKDIR /home/magnet
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["magnet-serve"]
