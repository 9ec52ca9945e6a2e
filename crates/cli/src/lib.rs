//! The pentad command
