# The viewer of traces for the networks of deploy/compose: it asks nobody for a credential, so it belongs on no network but theirs.
FROM scratch

ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.title="pentad-trace-viewer" \
      org.opencontainers.image.description="Takes traces over OTLP and shows them on a page" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

COPY pentad-trace-viewer /pentad-trace-viewer

USER 65532:65532
EXPOSE 4316 4317
STOPSIGNAL SIGTERM
ENTRYPOINT ["/pentad-trace-viewer", "--otlp", "0.0.0.0:4317", "--page", "0.0.0.0:4316"]
