# Three images of one build: `docker build --target broker .`, `--target agent`, `--target cli`. Each holds one program, the libraries
# that it is linked with, the authorities that it believes and a list of what it is made of: no shell, no package manager, nobody but an
# unprivileged user.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=true --target broker --tag brokkr-broker:0.1.0 .
#
# The same sources and the same base give the same programs: pin the base by its digest (`--build-arg RUST=rust@sha256:…`).
ARG RUST=rust:1.95.0-slim-bookworm

# On the builder's own architecture, whatever the image is for: a compiler for the other one does it, and nothing is emulated.
FROM --platform=$BUILDPLATFORM ${RUST} AS build
ARG TARGETARCH
ARG PROFILE=release
# What the base has is not upgraded: who pins the base has pinned the libraries. For the other architecture Debian's own come beside
# them, because those of the cross compiler are not kept free of known faults.
RUN set -eu; \
  own=$(dpkg --print-architecture); \
  packages="binutils ca-certificates gcc jq libc6-dev"; \
  case "$own/${TARGETARCH:-$own}" in \
    amd64/arm64) dpkg --add-architecture arm64; cross="gcc-aarch64-linux-gnu libc6-dev-arm64-cross libc6:arm64 libgcc-s1:arm64" ;; \
    arm64/amd64) dpkg --add-architecture amd64; cross="gcc-x86-64-linux-gnu libc6-dev-amd64-cross libc6:amd64 libgcc-s1:amd64" ;; \
    *) cross= ;; \
  esac; \
  apt-get update; \
  apt-get install -y --no-install-recommends --no-upgrade $packages; \
  if [ -n "$cross" ]; then apt-get install -y --no-install-recommends $cross; fi; \
  rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY rust-toolchain.toml ./
COPY scripts/cyclonedx.sh scripts/
RUN BROKKR_CACHE=/cache scripts/cyclonedx.sh
COPY . .
RUN set -eu; \
  architecture=${TARGETARCH:-$(dpkg --print-architecture)}; \
  PROFILE=$PROFILE scripts/build-programs.sh "$architecture" /programs; \
  BROKKR_CACHE=/cache scripts/sbom.sh "$architecture" /programs; \
  for program in brokkr-broker brokkr-agent brokkr; do \
    SOURCE_DATE_EPOCH=0 scripts/image-root.sh "/programs/$program" "/images/$program"; \
  done; \
  mkdir /images/empty

FROM scratch AS broker
COPY --from=build /images/brokkr-broker /
COPY --from=build --chown=65532:65532 /images/empty /var/lib/brokkr
USER 65532:65532
WORKDIR /var/lib/brokkr
EXPOSE 3000
ENTRYPOINT ["/usr/bin/brokkr-broker"]
CMD ["serve"]

FROM scratch AS agent
COPY --from=build /images/brokkr-agent /
COPY --from=build --chown=65532:65532 /images/empty /var/lib/brokkr
USER 65532:65532
WORKDIR /var/lib/brokkr
EXPOSE 8080
ENTRYPOINT ["/usr/bin/brokkr-agent"]
CMD ["run"]

FROM scratch AS cli
COPY --from=build /images/brokkr /
COPY --from=build --chown=65532:65532 /images/empty /work
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["/usr/bin/brokkr"]
