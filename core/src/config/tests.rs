//! Tests of the whole room: sources in, settings out.
