# The command line in an image of its own, for networks that only containers can reach.
FROM scratch

ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="pentad" \
      org.opencontainers.image.description="Pentad's command line" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

COPY pentad /pentad

USER 65532:65532
ENTRYPOINT ["/pentad"]
