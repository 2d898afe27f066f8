# syntax=docker/dockerfile:1

# The operator's image: the program, the system's certificates, and nothing to log in to.
#
#   docker build -t ecr-operator:0.1.0 --build-arg VERSION=0.1.0 .

ARG RUST_VERSION=1.95
ARG DEBIAN_RELEASE=bookworm

FROM rust:${RUST_VERSION}-slim-${DEBIAN_RELEASE} AS build
WORKDIR /src
COPY . .
# aws-lc, the cryptography library, is compiled with the C compiler that the image has. The caches keep what other
# builds for the same platform downloaded and compiled; the program leaves the cache in the same step.
ARG TARGETPLATFORM
ARG REVISION=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,id=target-${TARGETPLATFORM},sharing=locked \
    ECR_OPERATOR_COMMIT="$REVISION" cargo build --release --locked --package ecr-operator && \
    install -D target/release/ecr-operator /out/ecr-operator

FROM gcr.io/distroless/cc-debian12:nonroot
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ecr-operator" \
      org.opencontainers.image.description="Makes Amazon ECR match what Git declares" \
      org.opencontainers.image.source="https://github.com/ecr-operator/ecr-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /out/ecr-operator /usr/local/bin/ecr-operator
COPY LICENSE /usr/share/doc/ecr-operator/LICENSE
# The user `nonroot`, as a number so that runAsNonRoot can be checked.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/usr/local/bin/ecr-operator"]
CMD ["run"]
