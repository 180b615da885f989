# syntax=docker/dockerfile:1
# `--target runtime`: the package alone, for images of your own (FROM it, add your code).
# The last stage adds the examples: docker-compose.yml runs it.
FROM python:3.11.14-slim-bookworm AS python
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

FROM python AS wheel
WORKDIR /source
COPY requirements/build.txt requirements/build.txt
RUN pip install --require-hashes -r requirements/build.txt
COPY pyproject.toml README.md ./
COPY rabbitjobs rabbitjobs
RUN python -m build --wheel --no-isolation --outdir /wheel

FROM python AS runtime
COPY requirements/image.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt
COPY --from=wheel /wheel /tmp/wheel
RUN pip install --no-deps --no-index /tmp/wheel/*.whl && rm -r /tmp/wheel /tmp/requirements.txt
RUN useradd --system --create-home --home-dir /app --uid 10001 rabbitjobs
USER rabbitjobs
WORKDIR /app
ENTRYPOINT ["rabbitjobs"]
CMD ["--help"]

FROM runtime AS example
USER root
COPY requirements/example.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt && rm /tmp/requirements.txt
COPY --chown=rabbitjobs examples examples
USER rabbitjobs
