# The program in a container. Two targets:
#   docker build -t scu .                    static, non-root, nothing but the binary
#   docker build -t scu-cuda --target cuda . trains on NVIDIA GPUs

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN make build VERSION=$VERSION && install -d -o 65532 -g 65532 /data

FROM build AS build-cuda
RUN make build-cuda VERSION=$VERSION

# The driver comes from the host (nvidia-container-toolkit); cuBLASLt from this image.
# Its libc is newer than the one that the program was built with.
FROM nvidia/cuda:12.6.3-base-ubuntu24.04 AS cuda
# hadolint ignore=DL3008
RUN apt-get update \
	&& apt-get install -y --no-install-recommends libcublas-12-6 ca-certificates \
	&& rm -rf /var/lib/apt/lists/*
COPY --from=build-cuda /src/bin/scu /usr/local/bin/scu
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV SCU_DATA=/data
VOLUME /data
ENTRYPOINT ["/usr/local/bin/scu"]
CMD ["trainer"]

FROM gcr.io/distroless/static-debian12:nonroot AS cpu
COPY --from=build /src/bin/scu /usr/local/bin/scu
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
ENV SCU_DATA=/data
VOLUME /data
EXPOSE 8000
ENTRYPOINT ["/usr/local/bin/scu"]
CMD ["serve"]
