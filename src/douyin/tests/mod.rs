//! The client against a server of its own and against a transport in the process.
