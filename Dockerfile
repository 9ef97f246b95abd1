# wan-parity in a container; docs/docker.md says how to build and run it.
#   CPU:  docker build -t wan-parity .
#   CUDA: docker build -t wan-parity:cuda --build-arg TORCH_INDEX= .
FROM python:3.12-slim-bookworm

# Where torch is looked for besides PyPI, whose own build is CUDA's.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# What to install of pyproject.toml's extras: [server] adds `parity serve`, [pytest] the plugin.
ARG EXTRAS=[server,pytest]

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1 \
    HF_HOME=/models \
    WAN_PARITY_CACHE=/cache

# torch first: it is the largest layer, and a change of the code below leaves it as it is.
WORKDIR /opt/wan-parity
COPY constraints.txt ./
RUN pip install -c constraints.txt ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch torchvision

COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY parity parity
COPY pipelines pipelines
COPY reports reports
COPY cases cases
RUN pip install -c constraints.txt ".$EXTRAS" \
    && useradd --create-home --uid 1000 parity \
    && mkdir -p /models /cache /project \
    && chown parity:parity /models /cache /project

USER 1000:1000
WORKDIR /project
VOLUME ["/models", "/cache"]
HEALTHCHECK NONE
ENTRYPOINT ["parity"]
CMD ["--help"]
