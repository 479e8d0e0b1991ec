# The gateway as an image: without the simulator, without need of a shell, as user 10001.
#
#   docker build --tag settlement-gateway .
#
# How to make its database, once, and to run it: docs/configuration.md, "In a
# container". scripts/test lints this file, and scripts/container-check builds it and runs the image.

FROM rust:1.95-bookworm AS build
WORKDIR /build
# First the dependencies, for a package that is empty: this layer stays while Cargo.lock does. What
# was built of the package itself is removed, because it may be newer than the sources that follow.
# The simulator, the benches and the example are members of the workspace, so cargo wants to know
# them, though nothing of them is built.
COPY .cargo/config.toml .cargo/
COPY Cargo.toml Cargo.lock ./
COPY sim/Cargo.toml sim/
COPY benches/Cargo.toml benches/
COPY examples/rust/Cargo.toml examples/rust/
RUN mkdir src sim/src benches/src examples/rust/src \
    && echo 'fn main() {}' >build.rs \
    && cp build.rs src/main.rs \
    && cp build.rs benches/src/main.rs \
    && cp build.rs examples/rust/src/main.rs \
    && touch src/lib.rs sim/src/lib.rs \
    && cargo build --locked --release --no-default-features \
    && cargo clean --locked --release --package settlement-gateway
COPY build.rs ./
COPY docs/service-config.json docs/
COPY proto proto
COPY migrations migrations
COPY src src
RUN cargo build --locked --release --no-default-features \
    && mkdir /data

# Nothing runs while this stage is built, so any base with glibc will do that has no shell either.
FROM debian:bookworm-slim
ARG REVISION=unknown
LABEL org.opencontainers.image.title="settlement-gateway" \
      org.opencontainers.image.description="A gRPC gateway to Douyin's settlement (分账) API" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.base.name="docker.io/library/debian:bookworm-slim"
# The bill of materials, if scripts/sbom.py was run before (docs/release.md); else the image has none.
COPY LICENSE sbom.cdx.jso[n] /usr/share/doc/settlement-gateway/
# The certificates by which Douyin is recognised.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=10001:10001 /data /data
COPY --from=build /build/target/release/settlement-gateway /usr/local/bin/
# A loopback address would be the container's own. So `serve` starts only if the configuration names
# callers. Without a certificate in the configuration gRPC speaks plain text: then do not publish its
# port beyond a trusted network. Callbacks are for the internet. The admin listener, which shows
# metrics and health, stays on the container's loopback. Every command that is run in the container, the
# HEALTHCHECK too, has the file from the first variable.
ENV SETTLEMENT_CONFIG=/etc/settlement-gateway/gateway.toml \
    SETTLEMENT_SERVER_GRPC_ADDR=0.0.0.0:50051 \
    SETTLEMENT_SERVER_CALLBACK_ADDR=0.0.0.0:8080
USER 10001:10001
# So that the default of store.sqlite_path, data/settlement.db, is in the volume. A variable would beat
# the file, in which another store may stand.
WORKDIR /
VOLUME ["/data"]
EXPOSE 50051 8080
# drain_delay_ms and stop_grace_ms together are 30 s, and what comes after them takes up to 16 s: give
# it more than that before SIGKILL.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/settlement-gateway", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/settlement-gateway"]
CMD ["serve"]
