# A node in an image that holds nothing else: a static binary, no shell, no root.
# Built by `make image`, which makes the binary first; the context is the folder with the binary.
FROM scratch
COPY pentad-node /pentad-node
USER 65532:65532
VOLUME /data
ENV PENTAD_DATA_DIR=/data
EXPOSE 5678/tcp 5678/udp 9999 10999
STOPSIGNAL SIGTERM
ENTRYPOINT ["/pentad-node"]
