//! Following other processes: `ptrace(2)`. All of it from the one thread that has seized them.

use nix::errno::Errno;
use nix::unistd::Pid;

/// What every followed process has: it ends with whoever follows it, what it starts is followed too, and its calls are
/// reported where a filter says so.
const OPTIONS: libc::c_int = libc::PTRACE_O_EXITKILL
    | libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC;
/// Requests of `linux/ptrace.h`, whose type the C libraries do not agree on. The last is of Linux 5.3.
const CONT: u32 = 7;
const DETACH: u32 = 17;
const SYSCALL: u32 = 24;
const SETOPTIONS: u32 = 0x4200;
const GETEVENTMSG: u32 = 0x4201;
const GETSIGINFO: u32 = 0x4202;
const GETREGSET: u32 = 0x4204;
const SETREGSET: u32 = 0x4205;
const SEIZE: u32 = 0x4206;
const INTERRUPT: u32 = 0x4207;
const LISTEN: u32 = 0x4208;
const GET_SYSCALL_INFO: u32 = 0x420e;
/// `PTRACE_SYSCALL_INFO_*`: where in a call a process stands.
const AT_EXIT: u8 = 2;
const AT_SECCOMP: u8 = 3;
/// The registers, as a set of `PTRACE_GETREGSET`.
const NT_PRSTATUS: libc::c_int = 1;
/// `SYS_SECCOMP` of `asm-generic/siginfo.h`: the kernel's own reason for `SIGSYS`.
const SYS_SECCOMP: libc::c_int = 1;
/// What `PTRACE_O_TRACESYSGOOD` adds to a `SIGTRAP`.
const SYSCALL_STOP: libc::c_int = libc::SIGTRAP | 0x80;

/// What has become of a followed thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is gone.
    Gone,
    /// A filter wants a call of it to be seen, which has not happened yet.
    Call,
    /// A call has happened.
    Returned,
    /// A signal is about to reach it.
    Signal(libc::c_int),
    /// A signal has stopped it and the rest of its process, as it would unfollowed.
    Group,
    /// It executes something, and is the only thread of its process now. Whatever was to be said of its number before was about
    /// another one.
    Executes,
    /// It is new, or has started another, or goes on after a stop.
    Other,
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// To the next thing that is to be seen.
    Freely,
    /// To the end of the call that it is in.
    ToTheEndOfTheCall,
}

/// A process that is stopped, and does not end with us as yet: until [`follow`](Self::follow) it could be left again.
pub(crate) struct Held {
    process: Pid,
    /// The signal by which it was found on its way.
    signal: libc::c_int,
}

/// Stops a process to follow it. `ESRCH` where it has ended.
pub(crate) fn hold(process: Pid) -> Result<Held, Errno> {
    request(SEIZE, process, 0, 0)?;
    request(INTERRUPT, process, 0, 0)?;
    match wait(process, 0)? {
        None | Some((_, Stop::Gone)) => Err(Errno::ESRCH),
        Some((_, Stop::Signal(signal))) => Ok(Held { process, signal }),
        Some(_) => Ok(Held { process, signal: 0 }),
    }
}

impl Held {
    /// Lets it go on, and follows it from here on: it ends with us, and what it starts is followed too.
    pub(crate) fn follow(self) -> Result<(), Errno> {
        let Self { process, signal } = self;
        request(SETOPTIONS, process, 0, OPTIONS.unsigned_abs() as usize)?;
        resume(process, Resume::Freely, signal)
    }

    /// Lets it go on, and has nothing more to do with it.
    pub(crate) fn leave(self) -> Result<(), Errno> {
        request(DETACH, self.process, 0, self.signal.unsigned_abs() as usize).map(drop)
    }
}

/// Waits until somebody who is followed has stopped, and takes everybody who has by then: who is let go on and stops again at
/// once can't keep the others waiting. Adds nothing where nobody is left.
pub(crate) fn next_stops(stops: &mut Vec<(Pid, Stop)>) -> Result<(), Errno> {
    let anybody = Pid::from_raw(-1);
    let Some(first) = wait(anybody, 0)? else { return Ok(()) };
    stops.push(first);
    // Each of them waits to be let go on, so that there is an end.
    while let Some(next) = wait(anybody, libc::WNOHANG)? {
        stops.push(next);
    }
    Ok(())
}

/// Waits for a stop or an end. Nothing where nobody is left, or there is none at this time and it is not to be waited for.
fn wait(whom: Pid, flags: libc::c_int) -> Result<Option<(Pid, Stop)>, Errno> {
    let mut status: libc::c_int = 0;
    loop {
        // JUSTIFICATION: nix makes an error of a signal without a name.
        // SAFETY: the pointer is to a local that lives until the call returns.
        match Errno::result(unsafe { libc::waitpid(whom.as_raw(), &raw mut status, libc::__WALL | flags) }) {
            Ok(0) => return Ok(None),
            Ok(thread) => return Ok(Some((Pid::from_raw(thread), stop(status)))),
            Err(Errno::EINTR) => {}
            Err(Errno::ECHILD) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

fn stop(status: libc::c_int) -> Stop {
    if !libc::WIFSTOPPED(status) {
        return Stop::Gone;
    }
    match (status >> 16, libc::WSTOPSIG(status)) {
        (libc::PTRACE_EVENT_SECCOMP, _) => Stop::Call,
        (libc::PTRACE_EVENT_EXEC, _) => Stop::Executes,
        // A signal that stops, in the place of the trap that tells of everything else.
        (libc::PTRACE_EVENT_STOP, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU) => {
            Stop::Group
        }
        (0, SYSCALL_STOP) => Stop::Returned,
        (0, signal) => Stop::Signal(signal),
        _ => Stop::Other,
    }
}

/// Lets a stopped thread go on, with this signal, or none (0). `ESRCH` where it was killed meanwhile.
pub(crate) fn resume(thread: Pid, how: Resume, signal: libc::c_int) -> Result<(), Errno> {
    let how = match how {
        Resume::Freely => CONT,
        Resume::ToTheEndOfTheCall => SYSCALL,
    };
    request(how, thread, 0, signal.unsigned_abs() as usize).map(drop)
}

/// The number that a thread had which [executes](Stop::Executes) something: it has its process's now.
pub(crate) fn number_before(thread: Pid) -> Result<Pid, Errno> {
    let mut number: libc::c_ulong = 0;
    request(GETEVENTMSG, thread, 0, (&raw mut number).expose_provenance())?;
    i32::try_from(number).map(Pid::from_raw).map_err(|_beyond| Errno::ESRCH)
}

/// Leaves a thread stopped as a signal has stopped it, until one lets it go on.
pub(crate) fn leave_stopped(thread: Pid) -> Result<(), Errno> {
    request(LISTEN, thread, 0, 0).map(drop)
}

/// A call by its number, and its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) number: i64,
    pub(crate) arguments: [u64; 6],
}

/// `struct ptrace_syscall_info` of `linux/ptrace.h`.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Information {
    stands: u8,
    padding: [u8; 3],
    architecture: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// The number of the call and its arguments; or what it returned, and whether that is an error.
    words: [u64; 7],
    /// What the filter has to say.
    data: u32,
    rest: u32,
}

fn information(thread: Pid) -> Result<Information, Errno> {
    let mut information = Information::default();
    let place = (&raw mut information).expose_provenance();
    request(GET_SYSCALL_INFO, thread, size_of::<Information>(), place)?;
    Ok(information)
}

/// The call that a thread is about to make, and what the filter says that wants it seen.
pub(crate) fn call(thread: Pid) -> Result<(Called, u32), Errno> {
    let Information { stands, words, data, .. } = information(thread)?;
    let [number, arguments @ ..] = words;
    match stands {
        AT_SECCOMP => Ok((Called { number: i64::from_ne_bytes(number.to_ne_bytes()), arguments }, data)),
        _ => Err(Errno::EIO),
    }
}

/// The error with which a call has ended, if it is one.
pub(crate) fn error_of_call(thread: Pid) -> Result<Option<Errno>, Errno> {
    let Information { stands, words: [value, is_error, ..], .. } = information(thread)?;
    if stands != AT_EXIT {
        return Err(Errno::EIO);
    }
    // One byte of the word counts.
    let failed = is_error & 0xff != 0;
    let number =
        i64::from_ne_bytes(value.to_ne_bytes()).checked_neg().and_then(|value| i32::try_from(value).ok());
    Ok(number.filter(|_| failed).map(Errno::from_raw))
}

/// What a filter said for which the kernel is about to send a thread `SIGSYS`. Nothing where the signal has another reason.
pub(crate) fn trapped_by(thread: Pid) -> Result<Option<libc::c_int>, Errno> {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    request(GETSIGINFO, thread, 0, info.as_mut_ptr().expose_provenance())?;
    // JUSTIFICATION: the structure is plain numbers.
    // SAFETY: it was zeroed, which is a valid value of it, and then filled by the kernel.
    let info = unsafe { info.assume_init() };
    Ok((info.si_code == SYS_SECCOMP).then_some(info.si_errno))
}

/// The registers of a thread, and in them the call that it has asked for.
#[derive(Clone, Copy)]
pub(crate) struct Registers(libc::user_regs_struct);

impl Registers {
    /// Reads them.
    pub(crate) fn of(thread: Pid) -> Result<Self, Errno> {
        let mut registers = std::mem::MaybeUninit::<libc::user_regs_struct>::zeroed();
        let mut place = Self::place(registers.as_mut_ptr());
        request(
            GETREGSET,
            thread,
            NT_PRSTATUS.unsigned_abs() as usize,
            (&raw mut place).expose_provenance(),
        )?;
        // JUSTIFICATION: the structure is plain numbers.
        // SAFETY: it was zeroed, which is a valid value of it, and then filled by the kernel.
        Ok(Self(unsafe { registers.assume_init() }))
    }

    /// Writes them back.
    pub(crate) fn set(mut self, thread: Pid) -> Result<(), Errno> {
        let mut place = Self::place(&raw mut self.0);
        let set = NT_PRSTATUS.unsigned_abs() as usize;
        request(SETREGSET, thread, set, (&raw mut place).expose_provenance()).map(drop)
    }

    fn place(registers: *mut libc::user_regs_struct) -> libc::iovec {
        libc::iovec { iov_base: registers.cast(), iov_len: size_of::<libc::user_regs_struct>() }
    }

    /// The call, where the registers are still as they were when it was asked for.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn call(&self) -> Option<Called> {
        let Self(registers) = self;
        let number = i64::from_ne_bytes(registers.orig_rax.to_ne_bytes());
        let arguments =
            [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9];
        (registers.rax == registers.orig_rax).then_some(Called { number, arguments })
    }

    /// The call, where the registers are still as they were when it was asked for.
    #[cfg(target_arch = "aarch64")]
    pub(crate) fn call(&self) -> Option<Called> {
        let [a, b, c, d, e, f, _, _, number, ..] = self.0.regs;
        let number = i64::from_ne_bytes(number.to_ne_bytes());
        Some(Called { number, arguments: [a, b, c, d, e, f] })
    }

    /// Takes bits out of the first argument of the call that is about to be made.
    pub(crate) const fn clear_in_first_argument(&mut self, bits: u64) {
        #[cfg(target_arch = "x86_64")]
        {
            self.0.rdi &= !bits;
        }
        #[cfg(target_arch = "aarch64")]
        {
            self.0.regs[0] &= !bits;
        }
    }

    /// Makes the call that was not made look as if it had failed.
    pub(crate) fn fail(&mut self, errno: Errno) {
        let answer = u64::from_ne_bytes((-i64::from(errno as i32)).to_ne_bytes());
        #[cfg(target_arch = "x86_64")]
        {
            self.0.rax = answer;
        }
        #[cfg(target_arch = "aarch64")]
        {
            self.0.regs[0] = answer;
        }
    }
}

/// Keeps a call from being made, which fails as one that this kernel does not have: what happens by itself where nobody
/// follows the thread.
pub(crate) fn skip_call(thread: Pid) -> Result<(), Errno> {
    let mut registers = Registers::of(thread)?;
    registers.fail(Errno::ENOSYS);
    #[cfg(target_arch = "x86_64")]
    {
        registers.0.orig_rax = u64::MAX;
        registers.set(thread)
    }
    #[cfg(target_arch = "aarch64")]
    {
        /// The number of the call, as a set of registers.
        const NT_ARM_SYSTEM_CALL: usize = 0x404;
        registers.set(thread)?;
        let mut none: libc::c_int = -1;
        let mut place = libc::iovec { iov_base: (&raw mut none).cast(), iov_len: size_of::<libc::c_int>() };
        request(SETREGSET, thread, NT_ARM_SYSTEM_CALL, (&raw mut place).expose_provenance()).map(drop)
    }
}

/// Lets a process, by its number, follow this one where Yama would allow it to nobody else: `PR_SET_PTRACER`. `EINVAL` where
/// there is no Yama.
pub(crate) fn allow_to_follow(process: Pid) -> Result<(), Errno> {
    let number = libc::c_ulong::from(process.as_raw().unsigned_abs());
    // JUSTIFICATION: nix has no wrapper.
    // SAFETY: the call takes numbers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PTRACER, number, 0_u64, 0_u64, 0_u64) }).map(drop)
}

fn request(request: u32, thread: Pid, address: usize, data: usize) -> Result<libc::c_long, Errno> {
    // JUSTIFICATION: nix's wrappers take signals with names only, and lack most of these requests.
    // SAFETY: each request of this file hands over numbers, or the place of a structure of the size and layout that the
    // request takes, which lives until the call returns.
    Errno::result(unsafe { libc::ptrace(request as _, thread.as_raw(), address, data) })
}
