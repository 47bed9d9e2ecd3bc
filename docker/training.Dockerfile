# The trainer on the CPU. For CUDA, build with a PyTorch wheel index in PIP_EXTRA_INDEX_URL and run with a GPU reserved.
FROM python:3.11-slim-bookworm AS build
# pip's own configuration, where the build needs it (PyTorch's CPU wheel index, say); empty means pip's defaults.
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
RUN python -m venv /opt/magnet
WORKDIR /src
# Dependencies first: this layer is rebuilt only when they change.
COPY pyproject.toml README.md LICENSE ./
COPY model_store/__init__.py model_store/version.py model_store/
RUN /opt/magnet/bin/pip install --no-cache-dir --no-compile '.[train]'
COPY model_store model_store
COPY training training
RUN /opt/magnet/bin/pip install --no-cache-dir --no-compile --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/magnet /opt/magnet
# Matplotlib keeps a cache of fonts, and the file system is read-only.
ENV PATH=/opt/magnet/bin:$PATH PYTHONUNBUFFERED=1 MPLCONFIGDIR=/tmp/matplotlib
# Made here so that volumes mounted over them belong to the user who writes them.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin magnet \
  && install -d -o magnet -g magnet /store /data /runs
COPY docker/train /usr/local/bin/train
USER magnet
WORKDIR /home/magnet
ENTRYPOINT ["train"]
