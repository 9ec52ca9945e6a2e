# Prometheus for the networks of deploy/compose. Built by `make image-prometheus` (deploy/docker/build-prometheus).
FROM scratch

COPY bin /bin
COPY lib /lib
COPY lib64 /lib64
COPY --chown=65532:65532 prometheus /prometheus

USER 65532:65532
VOLUME /prometheus
EXPOSE 9090
ENTRYPOINT ["/bin/prometheus", "--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus", \
    "--enable-feature=exemplar-storage"]
