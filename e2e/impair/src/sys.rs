//! The system calls that no library here has: making a TUN device, waiting with a precision of
//! nanoseconds, and coming first when there is work.

#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// Makes a TUN device in the namespace of the caller, which lives as long as the file: each read
/// and each write is one IP packet. Takes `CAP_NET_ADMIN`.
///
/// # Errors
/// What the kernel says.
pub(crate) fn make_tun(name: &str) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    // SAFETY: a C struct of integers and pointers, for which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    let room = request.ifr_name.len() - 1;
    if name.len() > room {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the name is too long",
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the descriptor is open, and this request reads and writes one `ifreq`.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

/// Waits until one of the two can be read, or for this long; a signal ends it too. Which can.
///
/// # Errors
/// What the kernel says.
pub(crate) fn wait(files: [BorrowedFd<'_>; 2], at_most: Duration) -> io::Result<[bool; 2]> {
    let mut polled = files.map(|file| libc::pollfd {
        fd: file.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    });
    let timeout = libc::timespec {
        tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: at_most.subsec_nanos() as _,
    };
    // SAFETY: two valid entries, a valid time, and no signal mask.
    let result =
        unsafe { libc::ppoll(polled.as_mut_ptr(), 2, &raw const timeout, std::ptr::null()) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return match error.kind() {
            io::ErrorKind::Interrupted => Ok([false; 2]),
            _ => Err(error),
        };
    }
    // An error of the device shows at the read.
    Ok(polled.map(|entry| entry.revents != 0))
}

/// Has this thread run whenever it has work, before all that have no real-time priority, and its
/// timers fire without slack.
///
/// # Errors
/// If that isn't allowed.
pub fn come_first() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 2 };
    // SAFETY: plain calls with integers and one valid struct.
    let result = unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter)
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
