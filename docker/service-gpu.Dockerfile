# The service on an NVIDIA GPU: FAISS and ONNX Runtime on CUDA 12. Needs the NVIDIA container toolkit on the host.
# cuDNN comes with the base image (ONNX Runtime wants it); FAISS brings its CUDA libraries as wheels.
FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04 AS build
ARG PIP_EXTRA_INDEX_URL
ARG PIP_FIND_LINKS
RUN apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/magnet
WORKDIR /src
# Dependencies first: this layer is rebuilt only when they change.
COPY pyproject.toml README.md LICENSE ./
COPY model_store/__init__.py model_store/version.py model_store/
RUN /opt/magnet/bin/pip install --no-cache-dir --no-compile '.[serve-gpu]'
COPY model_store model_store
COPY service service
RUN /opt/magnet/bin/pip install --no-cache-dir --no-compile --no-deps --force-reinstall . \
  && /opt/magnet/bin/pip uninstall --yes pip

FROM nvidia/cuda:12.6.3-cudnn-runtime-ubuntu24.04
RUN apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/magnet /opt/magnet
ENV PATH=/opt/magnet/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# Made here so that volumes mounted over them belong to the user who writes them.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin magnet \
  && install -d -o magnet -g magnet /store /keys
COPY docker/make-keys /usr/local/bin/make-keys
USER magnet
WORKDIR /home/magnet
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
ENTRYPOINT ["magnet-serve"]
