# Three images of one build: `docker build --target broker .`, `--target agent`, `--target cli`. Each holds one program, the libraries
# that it is linked with and the authorities that it believes: no shell, no package manager, nobody but an unprivileged user.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --sbom=true --provenance=true --target broker --tag brokkr-broker:0.1.0 .
#
# The same sources and the same base give the same programs: pin the base by its digest (`--build-arg RUST=rust@sha256:…`).
ARG RUST=rust:1.95.0-slim-bookworm

FROM ${RUST} AS build
RUN apt-get update \
  && apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev \
  && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Paths of the builder and times have no place in a program that is to come out the same everywhere.
ENV CARGO_INCREMENTAL=0 CARGO_PROFILE_RELEASE_STRIP=symbols SOURCE_DATE_EPOCH=0 RUSTFLAGS="--remap-path-prefix=/src=/brokkr"
RUN cargo build --release --locked --package brokkr-broker --package brokkr-agent --package brokkr-cli
RUN for program in brokkr-broker brokkr-agent brokkr; do \
    scripts/image-root.sh "target/release/$program" "/images/$program"; \
  done && mkdir /images/empty

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
