//! Networks of real processes over real sockets.
