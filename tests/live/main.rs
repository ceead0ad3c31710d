//! Real machines. These tests need QEMU, libvirt and the lab images (`images/build`).

mod images;
mod lab;
mod runs;
