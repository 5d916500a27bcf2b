//! What a node takes from its machine: clock, chance, disk, listener, connector. Traits and the
//! real ones; tests and simulations bring their own. Knows nothing of fanfare.

mod chance;
mod clock;
mod count;
mod disk;
mod faulty;
pub mod golden;
mod memory;
mod net;
mod volatile;

pub use chance::{Rng, SeededRng, SystemRng};
pub use clock::{Clock, RealClock};
pub use count::{Counter, Gauge};
pub use disk::{DirLock, Disk, File, Open, RealDisk, Space};
pub use faulty::{Faults, FaultyDisk, Held, Operation};
pub use memory::MemDisk;
pub use net::{Connector, Listener, Socket, Stream, TcpConnector, TcpDoor};
pub use volatile::{PowerLost, VolatileDisk};
