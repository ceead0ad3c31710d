//! A medium that acts as an installation does, as far as the host can see: it waits for a key, tells how it goes on the
//! first serial port, and turns the machine off.

use std::{fs, path::Path};

const SECTOR: usize = 2048;

/// How far behind its tenth byte the text begins.
const TEXT: u8 = 0x30;

/// What a machine with QEMU's board `pc` runs, in real mode, with its own address on the stack. It waits for a key
/// (INT 16h, function 0), writes the text (8250 UART at 0x3f8), and enters S5 (PIIX4 PM1a_CNT, where SeaBIOS puts it).
const CODE: &[u8] = &[
    0xb4, 0x00, 0xcd, 0x16, // mov ah, 0; int 0x16
    0x0e, 0x1f, // push cs; pop ds
    0xe8, 0x00, 0x00, 0x5e, // call next; next: pop si
    0x83, 0xc6, TEXT, // add si, text - next
    0xac, 0x84, 0xc0, 0x74, 0x12, // each: lodsb; test al, al; jz done
    0x88, 0xc3, 0xba, 0xfd, 0x03, // mov bl, al; mov dx, 0x3fd
    0xec, 0xa8, 0x20, 0x74, 0xfb, // wait: in al, dx; test al, 0x20; jz wait
    0xba, 0xf8, 0x03, 0x88, 0xd8, 0xee, // mov dx, 0x3f8; mov al, bl; out dx, al
    0xeb, 0xe9, // jmp each
    // done:
    0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, // mov dx, 0x604; mov ax, 0x2000; out dx, ax
    0xf4, 0xeb, 0xfd, // hlt; jmp hlt
];

/// Writes a medium that starts without emulation of a disk ("El Torito", Bootable CD-ROM Format Specification 1.0).
pub fn write(path: &Path, text: &str) {
    let mut iso = vec![0; 20 * SECTOR];
    let mut put = |at: usize, bytes: &[u8]| iso[at..at + bytes.len()].copy_from_slice(bytes);
    put(16 * SECTOR, b"\x01CD001\x01");
    put(17 * SECTOR, b"\0CD001\x01EL TORITO SPECIFICATION");
    put(17 * SECTOR + 0x47, &18_u32.to_le_bytes());
    // The validation entry: its words come to zero in sum.
    put(18 * SECTOR, &[1, 0]);
    put(18 * SECTOR + 0x1e, &[0x55, 0xaa]);
    let sum = 0x0001_u16.wrapping_add(0xaa55);
    put(18 * SECTOR + 0x1c, &sum.wrapping_neg().to_le_bytes());
    // The default entry: bootable, no emulation, four sectors of 512 bytes, and where they are.
    put(18 * SECTOR + 0x20, &[0x88, 0, 0, 0, 0, 0]);
    put(18 * SECTOR + 0x26, &4_u16.to_le_bytes());
    put(18 * SECTOR + 0x28, &19_u32.to_le_bytes());
    let text_at = 9 + usize::from(TEXT);
    assert!(CODE.len() <= text_at, "{} bytes of code", CODE.len());
    put(19 * SECTOR, CODE);
    put(19 * SECTOR + text_at, text.as_bytes());
    fs::write(path, iso).unwrap();
}
