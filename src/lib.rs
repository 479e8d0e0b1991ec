//! A gRPC gateway to Douyin's settlement (分账, profit sharing): a settle that is recorded here is
//! never lost, never doubled, always driven to Douyin's final word, and everyone watching learns
//! it.
//!
//! ```text
//!            callers (any language, mesh, grpcurl)      Douyin open platform
//!        gRPC │   ▲ stream                         callback │        ▲ REST
//! floor       ▼   │                                         ▼        │
//!   4     main · cli · setup · config · server · core       │        │
//!         health · telemetry                                │        │
//!   3     grpc                                admin     callback     │
//!           │create   ▲watch                    │resolve    │hear    │
//!           ▼         │                         ▼           ▼        │
//!   2     gateway:  create · poll · turn · observe · watch ·         │
//!           │       query · callback (hub, flights)         │call    │
//!           ▼                                               ▼        │
//!   1     store (sqlite) · listener · apps                douyin ────┘
//!           ▼
//!   0     settle (pure) · clock · descriptors · sync · bell · tasks · seats · log_limit
//! ```
//!
//! Read in this order: [`settle`] (what a settle is and how it changes), [`gateway`] (how it is
//! driven and watched), [`store`] (what is durable), [`douyin`] (how Douyin is spoken to), [`apps`]
//! (for whom), [`grpc`] and [`callback`] (who calls), [`core`] and [`server`] (how it starts and
//! stops).
//!
//! Modules use those on lower floors and on their own; a test holds them to it.

pub mod admin;
pub mod apps;
pub mod bell;
pub mod callback;
pub mod cli;
pub mod clock;
pub mod config;
pub mod core;
pub mod descriptors;
pub mod douyin;
pub mod gateway;
pub mod grpc;
pub mod health;
pub mod listener;
pub mod log_limit;
pub mod proto;
pub mod seats;
pub mod server;
pub mod settle;
pub mod setup;
pub mod store;
pub mod supervise;
pub mod sync;
pub mod tasks;
pub mod telemetry;
