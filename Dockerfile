# syntax=docker/dockerfile:1
# One image for all parts: media-node, operator and gateway, and the room page.
#
#   docker build --tag registry.example.com/showrunner:0.1.0 .
#
# Which of the programs runs is for whoever runs it to say: the chart does. The local cluster's image has the same
# layout, and is made without Docker: e2e/cluster/image.py.

FROM node:22-trixie-slim AS page
WORKDIR /src/media-node/web
COPY media-node/web/package.json media-node/web/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY media-node/web .
RUN npm run build

FROM rust:1-trixie AS programs
RUN apt-get update -qq \
    && apt-get install -qq --yes --no-install-recommends cmake \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package media-node --package showrunner-operator \
    && install -D --strip --target-directory=/out target/release/media-node target/release/operator target/release/gateway

# glibc, certificates of public authorities, and a user without rights (65532). No shell.
FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=programs /out/ /usr/bin/
COPY --from=page /src/media-node/web/dist/ /srv/web/
ENTRYPOINT ["/usr/bin/media-node"]
