# The pinned environment and this repository. PyPI's torch for Linux carries CUDA: one image serves CPU and GPU.
#   docker build -t samdiffsr .
#   docker run --rm -v "$PWD:/repository" samdiffsr snakemake --cores 8 results/table2.csv
#   docker run --rm --gpus all -v "$PWD:/repository" samdiffsr samdiffsr doctor
FROM python:3.11-slim-bookworm
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ git libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/samdiffsr
COPY envs/bootstrap.lock envs/requirements.lock envs/
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --require-hashes -r envs/bootstrap.lock \
    && .venv/bin/uv pip install --no-cache --compile-bytecode --python .venv/bin/python \
       --require-hashes -r envs/requirements.lock
COPY . .
RUN .venv/bin/uv pip install --compile-bytecode --python .venv/bin/python --no-deps --no-build-isolation .
ENV PATH=/opt/samdiffsr/.venv/bin:$PATH
WORKDIR /repository
CMD ["samdiffsr", "--help"]
