//! What every service needs: configuration, telemetry, rights, limits, health, shutdown
