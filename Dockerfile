# One image for every process; the command says which. Runs as a user without rights.
FROM python:3.13-slim

ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN groupadd --gid 10001 rushes \
    && useradd --uid 10001 --gid 10001 --home-dir /srv/rushes --create-home --shell /usr/sbin/nologin rushes \
    && install -d -o rushes -g rushes /var/lib/rushes

WORKDIR /srv/rushes
COPY requirements-server.lock ./
RUN pip install --require-hashes --only-binary :all: -r requirements-server.lock

COPY alembic.ini ./
COPY alembic ./alembic
COPY api ./api
COPY cli ./cli
COPY stack ./stack
COPY models ./models
COPY rushes ./rushes
COPY rushes_client ./rushes_client
COPY workers ./workers

RUN printf '#!/bin/sh\nexec python -c "from cli.main import run; run()" "$@"\n' > /usr/local/bin/rushes \
    && chmod 755 /usr/local/bin/rushes

USER rushes
ENV PYTHONPATH=/srv/rushes RUSHES_DATA_DIR=/var/lib/rushes RUSHES_LOG_JSON=true
VOLUME ["/var/lib/rushes"]
EXPOSE 8000 5555

CMD ["uvicorn", "--factory", "api.app:create_app", "--host", "0.0.0.0", "--port", "8000", "--no-access-log", "--no-proxy-headers"]
