//! A gRPC gateway to Douyin's settlement (分账, profit sharing): a settle that is recorded here is
//! never lost, never doubled, always driven to Douyin's final word, and everyone watching learns
//! it.
//!
//! ```text
//!            callers (any language, mesh, grpcurl)      Douyin open platform
//!        gRPC │   ▲ stream                         callback │        ▲ REST
//! floor       ▼   │                                         ▼        │
//!   4     main · cli · config · server · core               │        │
//!         telemetry                                         │        │
//!   3     grpc                          http: admin · callbacks      │
//!           │create   ▲watch                    │resolve    │hear    │
//!           ▼         │                         ▼           ▼        │
//!   2     gateway:  create · poll · turn · observe · watch ·         │
//!           │       query · callback (hub, in_flight)         │call    │
//!           ▼                                               ▼        │
//!   1     store (sqlite) · apps                           douyin ────┘
//!           ▼
//!   0     settle (pure) · clock · descriptors · sync · tasks · log_limit
//! ```
//!
//! Read in this order: [`settle`] (what a settle is and how it changes), [`gateway`] (how it is
//! driven and watched), [`store`] (what is durable), [`douyin`] (how Douyin is spoken to), [`apps`]
//! (for whom), [`grpc`] and [`http`] (who calls), [`core`] and [`server`] (how it starts and
//! stops).
//!
//! Modules use those on lower floors and on their own; a test holds them to it.

// So that the compiler finds what nothing uses any more.
#![warn(unreachable_pub)]

pub mod apps;
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
pub mod proto;
pub mod server;
pub mod settle;
pub mod store;
mod sync;
pub mod tasks;
pub mod telemetry;
