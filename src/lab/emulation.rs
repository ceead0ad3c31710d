//! What an emulated machine needs beside its guest's memory.

use crate::model::Bytes;

/// How large a cache of translated code an emulated guest gets; QEMU's own default is a gigabyte.
///
/// Small on purpose: a restarted guest unpacks its kernel over pages whose old translations a large cache
/// still holds, and throwing those away one by one costs more than translating again (measured with QEMU
/// 7.2 and a 256 MiB guest, CPU time of a restart in the mean of six: 6.3 s with 20 MiB, 5.8 s with 24, 6.0 s with 28,
/// 7.4 s with 32; with 12 the guest's working set does not fit, 13 s; with the default 12 to 15 s).
pub fn translation_cache(memory: Bytes) -> Bytes {
    Bytes((memory.0 / 32 * 3).clamp(24 * Bytes::MIB, 256 * Bytes::MIB))
}
