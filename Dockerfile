# mixnn without GPUs, for one host and its ranks:
#
#   docker build -t mixnn .
#   docker run --rm --init --shm-size=512m mixnn                        # trains the digits on 7 ranks
#   docker run --rm --init --shm-size=512m -v "$PWD:/work" -u "$(id -u):$(id -g)" mixnn mpirun -n 7 mixnn run JOB
#
# Ranks exchange blocks through /dev/shm, of which Docker gives 64 MB unless --shm-size says more. `.ci/image/check` does what
# stands here without Docker.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY .ci .ci
RUN .ci/deps
COPY Cargo.toml Cargo.lock LICENSE ./
COPY src src
COPY kernels kernels
COPY jobs jobs
COPY slurm slurm
RUN .ci/image/build /opt/mixnn

# The same release of Debian, for the same MPI library.
FROM debian:bookworm-slim
WORKDIR /src
COPY .ci .ci
RUN .ci/image/prepare
COPY --from=build /opt/mixnn /usr/local
# More ranks than cores is what a laptop has. Docker forbids ranks to read each other's memory, which Open MPI would try.
ENV OMPI_MCA_rmaps_base_oversubscribe=1
ENV OMPI_MCA_btl_vader_single_copy_mechanism=none
USER mixnn
WORKDIR /work
RUN /src/.ci/image/smoke
CMD ["mpirun", "-n", "7", "mixnn", "run", "/usr/local/share/mixnn/jobs/digits.toml"]
