//! Opening a ring: with everything that the driver needs, or the reason why there can be none.

use crate::error::{self, Error, Result};
use crate::sys;
use io_uring::register::Restriction;
use io_uring::{IoUring, Probe, opcode, squeue};
use std::io;

/// Submissions that one turn gathers before it must enter the kernel.
const ENTRIES: u32 = 256;
/// Places for completions. When they are full, the kernel keeps what comes (IORING_FEAT_NODROP) until there is room: there may
/// be many more operations than that under way, for most of them wait.
const COMPLETIONS: u32 = 4096;

/// IORING_REGISTER_PBUF_RING, the only call of io_uring_register(2) that is made after the ring is enabled.
const REGISTER_BUFFERS: u8 = 22;

/// What this driver submits. Without one of them it does not run; nothing else may be submitted to the ring.
const OPCODES: [u8; 15] = [
    opcode::OpenAt::CODE,
    opcode::Read::CODE,
    opcode::Readv::CODE,
    opcode::Write::CODE,
    opcode::Writev::CODE,
    opcode::Fsync::CODE,
    opcode::Statx::CODE,
    opcode::Close::CODE,
    opcode::Accept::CODE,
    opcode::Connect::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::Shutdown::CODE,
    opcode::AsyncCancel::CODE,
];

/// What it submits where the kernel has it.
const OPTIONAL: [u8; 1] = [opcode::Ftruncate::CODE];

/// What differs from kernel to kernel.
#[derive(Clone, Copy)]
pub(super) struct Abilities {
    /// Multishot accepts and receives: both came with Linux 6.0, and so did IORING_OP_SEND_ZC, which can be asked for.
    pub(super) multishot: bool,
    /// IORING_OP_FTRUNCATE (Linux 6.9).
    pub(super) truncate: bool,
}

/// A ring with everything that this driver needs.
pub(super) fn open_ring() -> Result<(IoUring, Abilities)> {
    // A privileged program's ring would carry its privileges to whatever submits to it.
    if sys::is_privileged() {
        return Err(Error::with(error::SL_ERR_UNSUPPORTED, "io_uring is not used in set-user-ID programs"));
    }
    let missing =
        |what: &str, error: io::Error| Error { detail: format!("{what}: {error}").into(), ..Error::from(error) };
    let ring = IoUring::builder()
        // The memory of the rings is not for a forked child.
        .dontfork()
        // Disabled at first: only then can restrictions be registered.
        .setup_r_disabled()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_cqsize(COMPLETIONS)
        .build(ENTRIES)
        .map_err(|error| missing("io_uring_setup", error))?;
    let params = ring.params();
    if !params.is_feature_nodrop() || !params.is_feature_ext_arg() {
        return Err(Error::with(error::SL_ERR_UNSUPPORTED, "io_uring lacks NODROP or EXT_ARG"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| missing("io_uring's probe", error))?;
    if let Some(code) = OPCODES.iter().find(|code| !probe.is_supported(**code)) {
        return Err(Error::with(error::SL_ERR_UNSUPPORTED, format!("io_uring lacks opcode {code}")));
    }
    let optional = OPTIONAL.iter().filter(|code| probe.is_supported(**code));
    let mut allowed: Vec<Restriction> = OPCODES.iter().chain(optional).map(|code| Restriction::sqe_op(*code)).collect();
    allowed.push(Restriction::sqe_flags_allowed(squeue::Flags::BUFFER_SELECT.bits()));
    allowed.push(Restriction::register_op(REGISTER_BUFFERS));
    ring.submitter().register_restrictions(&mut allowed).map_err(|error| missing("io_uring's restrictions", error))?;
    ring.submitter().register_enable_rings().map_err(|error| missing("io_uring, to be enabled", error))?;
    let abilities = Abilities {
        multishot: probe.is_supported(opcode::SendZc::CODE),
        truncate: probe.is_supported(opcode::Ftruncate::CODE),
    };
    Ok((ring, abilities))
}
