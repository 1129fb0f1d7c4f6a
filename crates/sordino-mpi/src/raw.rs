//! The calls of MPI, each checked, with the memory they work on. The only unsafe code of this crate.
//!
//! rsmpi's safe calls drop MPI's error codes, and its requests borrow their buffers, which a port that sends and goes on
//! cannot have. What holds here:
//!
//! 1. *Memory.* A [`Flight`] owns the buffers of its operation from before the call until MPI has said that it is done,
//!    and nobody reads, writes, moves or frees them in between. One that is dropped before leaks them: MPI may still write.
//! 2. *Life.* There is one [`World`] a process, made after MPI_Init and closed before MPI_Finalize; every call takes it by
//!    reference, and a flight is asked about through it.
//! 3. *Threads.* MPI is started for calls that are serialized, from whichever thread. `World` and `Flight` may be sent to
//!    another thread and are not shared: everything that calls MPI takes the world of which there is one.
//! 4. *Handles.* Requests and messages are made by MPI, used once, and not kept when they are done.
//! 5. *Lengths.* Counts fit in MPI's `int`: what is longer is refused.

use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::raw::{c_char, c_int, c_void};
use std::time::Duration;

use mpi::ffi;
use mpi::topology::{Communicator, SimpleCommunicator};
use mpi::traits::AsRaw;
use mpi::{Threading, environment::Universe};
use sordino::base::{Error, Kind, Result};

/// MPI, from its start to its end, with a communicator of our own. Dropped without `close`, it is not finalised.
pub struct World {
    comm: ManuallyDrop<SimpleCommunicator>,
    universe: ManuallyDrop<Universe>,
}

// SAFETY: invariant 3. The handle is a number or a pointer to memory of MPI's that belongs to no thread.
unsafe impl Send for World {}

impl World {
    /// Starts MPI; a process can do so once.
    pub fn open() -> Result<Self> {
        let (universe, level) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| Error::request("MPI has been started in this process before, and can be started once"))?;
        if level < Threading::Serialized {
            return Err(Error::new(
                Kind::System,
                format!(
                    "this MPI gives the thread level {level:?}, and a port may move between threads: it needs Serialized"
                ),
            ));
        }
        let comm = universe.world().duplicate();
        // SAFETY: the communicator was made just now; the handler is one of MPI's own.
        checked(unsafe { ffi::MPI_Comm_set_errhandler(comm.as_raw(), ffi::RSMPI_ERRORS_RETURN) })?;
        Ok(Self { comm: ManuallyDrop::new(comm), universe: ManuallyDrop::new(universe) })
    }

    /// Ends MPI, which waits for all ranks.
    pub fn close(self) {
        drop(ManuallyDrop::into_inner(self.comm));
        drop(ManuallyDrop::into_inner(self.universe));
    }

    /// This rank, and how many there are.
    pub fn place(&self) -> (usize, usize) {
        (self.comm.rank() as usize, self.comm.size() as usize)
    }

    /// Starts to send a buffer.
    pub fn send(&self, to: usize, tag: c_int, buffer: Vec<u8>) -> Result<Flight<u8>> {
        let len = int(buffer.len())?;
        let mut flight = Flight::new(buffer, Vec::new());
        // SAFETY: invariants 1 and 2; the buffer has `len` bytes, which MPI only reads.
        checked(unsafe {
            ffi::MPI_Isend(
                flight.buffer.as_ptr().cast::<c_void>(),
                len,
                ffi::RSMPI_UINT8_T,
                int(to)?,
                tag,
                self.comm.as_raw(),
                flight.request.as_mut_ptr(),
            )
        })?;
        flight.started = true;
        Ok(flight)
    }

    /// The next message that has come, whoever it is from; those of one rank in the order in which they were sent.
    pub fn probe(&self) -> Result<Option<Found>> {
        let (mut flag, mut message, mut status) = (0, MaybeUninit::uninit(), MaybeUninit::<ffi::MPI_Status>::uninit());
        // SAFETY: invariant 2; MPI writes the flag, and message and status where it is set.
        checked(unsafe {
            ffi::MPI_Improbe(
                ffi::RSMPI_ANY_SOURCE,
                ffi::RSMPI_ANY_TAG,
                self.comm.as_raw(),
                &raw mut flag,
                message.as_mut_ptr(),
                status.as_mut_ptr(),
            )
        })?;
        if flag == 0 {
            return Ok(None);
        }
        // SAFETY: the flag is set, so MPI has written both.
        let (message, status) = unsafe { (message.assume_init(), status.assume_init()) };
        let mut len = 0;
        // SAFETY: the status is MPI's own.
        checked(unsafe { ffi::MPI_Get_count(&raw const status, ffi::RSMPI_UINT8_T, &raw mut len) })?;
        let len = usize::try_from(len).map_err(|_| Error::decode("a message that is no whole number of bytes came"))?;
        Ok(Some(Found { message, from: status.MPI_SOURCE as usize, tag: status.MPI_TAG, len }))
    }

    /// Starts to receive a message that was found, into a buffer that is made as long as it.
    #[allow(clippy::unused_self, clippy::needless_pass_by_value)] // Invariants 2 and 4.
    pub fn receive(&self, found: Found, mut buffer: Vec<u8>) -> Result<Flight<u8>> {
        buffer.resize(found.len, 0);
        let len = int(found.len)?;
        let mut flight = Flight::new(buffer, Vec::new());
        let mut message = found.message;
        // SAFETY: invariants 1, 2 and 4; the buffer has `len` bytes that are initialised.
        checked(unsafe {
            ffi::MPI_Imrecv(
                flight.buffer.as_mut_ptr().cast::<c_void>(),
                len,
                ffi::RSMPI_UINT8_T,
                &raw mut message,
                flight.request.as_mut_ptr(),
            )
        })?;
        flight.started = true;
        Ok(flight)
    }

    /// Starts to add up everybody's vector into a buffer that is made as long as it.
    pub fn sum(&self, mine: Vec<f32>, mut sum: Vec<f32>) -> Result<Flight<f32>> {
        let len = int(mine.len())?;
        sum.resize(mine.len(), 0.0);
        let mut flight = Flight::new(sum, mine);
        // SAFETY: invariants 1 and 2; both buffers have `len` entries, and they do not overlap.
        checked(unsafe {
            ffi::MPI_Iallreduce(
                flight.beside.as_ptr().cast::<c_void>(),
                flight.buffer.as_mut_ptr().cast::<c_void>(),
                len,
                ffi::RSMPI_FLOAT,
                ffi::RSMPI_SUM,
                self.comm.as_raw(),
                flight.request.as_mut_ptr(),
            )
        })?;
        flight.started = true;
        Ok(flight)
    }

    /// The buffer of an operation and what was read beside it, once it is done; progress is made by asking.
    #[allow(clippy::unused_self)] // Invariant 2.
    pub fn land<T>(&self, flight: &mut Flight<T>) -> Result<Option<(Vec<T>, Vec<T>)>> {
        if !flight.started {
            return Err(Error::new(Kind::System, "an operation of MPI that is over was asked about; this is a defect"));
        }
        let (mut flag, mut status) = (0, MaybeUninit::<ffi::MPI_Status>::uninit());
        // SAFETY: invariants 2 and 4; the request was made by MPI and is not done, for then `started` were not set.
        let tested = checked(unsafe { ffi::MPI_Test(flight.request.as_mut_ptr(), &raw mut flag, status.as_mut_ptr()) });
        if tested.is_err() || flag == 0 {
            return tested.map(|()| None);
        }
        flight.started = false;
        // SAFETY: MPI is done with both buffers, and `started` keeps them from being taken again.
        let buffers = unsafe { (ManuallyDrop::take(&mut flight.buffer), ManuallyDrop::take(&mut flight.beside)) };
        Ok(Some(buffers))
    }
}

/// A message that has come and waits to be received.
pub struct Found {
    message: ffi::MPI_Message,
    /// Whose it is.
    pub from: usize,
    /// What kind of message.
    pub tag: c_int,
    /// How many bytes.
    pub len: usize,
}

/// An operation that was started, with the memory it works on.
pub struct Flight<T> {
    request: MaybeUninit<ffi::MPI_Request>,
    started: bool,
    buffer: ManuallyDrop<Vec<T>>,
    /// What is read while `buffer` is written.
    beside: ManuallyDrop<Vec<T>>,
}

// SAFETY: invariant 3, as for `World`.
unsafe impl<T: Send> Send for Flight<T> {}

impl<T> Flight<T> {
    fn new(buffer: Vec<T>, beside: Vec<T>) -> Self {
        Self {
            request: MaybeUninit::uninit(),
            started: false,
            buffer: ManuallyDrop::new(buffer),
            beside: ManuallyDrop::new(beside),
        }
    }
}

/// How long a rank that gives a job up lets the others say why before it ends them.
pub const LAST_WORDS: Duration = Duration::from_millis(250);

/// Ends the whole job with this exit status, all other ranks included, after a moment in which they may say why they
/// end: launchers end a job at the first rank that fails. Outside a job it ends this process alone.
pub fn abort(code: i32) -> ! {
    if mpi::is_initialized() {
        std::thread::sleep(LAST_WORDS);
    }
    end(code)
}

/// Ends it at once.
pub fn end(code: i32) -> ! {
    if mpi::is_initialized() && !mpi::is_finalized() {
        SimpleCommunicator::world().abort(code);
    }
    std::process::exit(code);
}

fn int(len: usize) -> Result<c_int> {
    c_int::try_from(len)
        .map_err(|_| Error::request(format!("{len} is more than one call of MPI takes ({})", c_int::MAX)))
}

/// An error of MPI's, in its own words.
fn checked(code: c_int) -> Result<()> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    let mut text = [0 as c_char; ffi::MPI_MAX_ERROR_STRING as usize + 1];
    let mut len = 0;
    // SAFETY: the text has room for the longest that MPI writes.
    unsafe { ffi::MPI_Error_string(code, text.as_mut_ptr(), &raw mut len) };
    let text: Vec<u8> = text.iter().take(len.max(0) as usize).map(|c| *c as u8).collect();
    Err(Error::new(Kind::System, format!("MPI says: {}", String::from_utf8_lossy(&text))))
}
