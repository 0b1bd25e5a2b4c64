# The page and the REST API on a processor, as a user without rights, on a file system that is only read:
#
#   docker build -t polypseg .
#   docker run --read-only --tmpfs /tmp:size=4g --cap-drop ALL --security-opt no-new-privileges \
#     --memory 4g -p 127.0.0.1:8000:8000 -e POLYPSEG_TOKEN=secret polypseg
#
# /tmp holds videos while their jobs live (at most 8 of 500 MB and their results); images never leave the memory.
# A model of your own: -v "$PWD/model.onnx:/model.onnx:ro" -e POLYPSEG_MODEL=/model.onnx
#
# The base image is named by a tag, which is given to newer images. This builds from the digest that the tag had at the
# first build (kept in .base-digest; --renew takes the newest):
#
#   python scripts/build_image.py
#
# On bare metal the same lines, in their order: RUN in a shell in a clone, ENV as exports, CMD as a user without rights.
# scripts/exercise_dockerfile.py does exactly that in a scratch folder.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY configs configs

RUN python -m venv /opt/polypseg
RUN /opt/polypseg/bin/pip install --no-cache-dir ".[serve,video,openvino]"

ENV PATH=/opt/polypseg/bin:$PATH
ENV PYTHONDONTWRITEBYTECODE=1
ENV POLYPSEG_HOST=0.0.0.0
ENV POLYPSEG_PORT=8000

USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD python -c "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['POLYPSEG_PORT'] + '/readyz', timeout=4)"

CMD ["polypseg", "serve"]
