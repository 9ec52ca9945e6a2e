//! The wallet service: keystore and payments
