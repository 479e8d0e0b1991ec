//! A gRPC gateway to Douyin's settlement (分账, profit sharing). A settle that is recorded here is
//! never lost, never doubled, and driven until Douyin says how it ended; every watcher learns the
//! end.
//!
//! ```text
//!            callers (any language, mesh, grpcurl)      Douyin open platform
//!        gRPC │   ▲ stream                         callback │        ▲ REST
//! floor       ▼   │                                         ▼        │
//!   4     main · cli · config · server · core · reload      │        │
//!         telemetry                                         │        │
//!   3     grpc                          http: admin · callbacks      │
//!           │create   ▲watch                                │hear    │
//!           ▼         │                                     ▼        │
//!   2     gateway:  create · poll · turn · observe · watch ·         │
//!           │       query · callback (hub, in_flight)         │call    │
//!           ▼                                               ▼        │
//!   1     store          · apps · callers                 douyin ────┘
//!           ▼
//!   0     settle (pure) · clock · descriptors · sync · tasks · log_limit · metrics · trace
//! ```
//!
//! Read in this order: [`settle`] (what a settle is and how it changes), [`gateway`] (how it is
//! driven and watched), [`store`] (what is durable), [`douyin`] (how Douyin is called), [`apps`]
//! (for which app), [`callers`] (for whom), [`grpc`] and [`http`] (who calls), [`core`] and
//! [`server`] (how it starts and stops).
//!
//! Modules use those on lower floors and on their own; a test checks it.

// So that the compiler finds what is not used any more.
#![warn(unreachable_pub)]

pub mod apps;
pub mod callers;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
mod descriptors;
pub mod douyin;
pub mod gateway;
pub mod grpc;
pub mod http;
mod log_limit;
mod metrics;
pub mod proto;
pub mod reload;
pub mod server;
pub mod settle;
pub mod store;
mod sync;
pub mod systemd;
pub mod tasks;
pub mod telemetry;
pub mod trace;
