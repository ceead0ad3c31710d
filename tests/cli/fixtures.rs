//! Files for Windows, as small as they can be.

/// The headers of a portable executable without sections.
pub fn pe(machine: u16, subsystem: u16) -> Vec<u8> {
    let wide = machine != 0x14c;
    let mut file = vec![0; 0x200];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"MZ");
    put(60, &[0x40]);
    put(0x40, b"PE\0\0");
    put(0x44, &machine.to_le_bytes());
    put(0x54, &if wide { 240u16 } else { 224 }.to_le_bytes());
    put(0x58, &if wide { 0x20bu16 } else { 0x10b }.to_le_bytes());
    put(0x58 + 68, &subsystem.to_le_bytes());
    file
}

pub fn inf(models: &str) -> String {
    format!(
        "[Version]\r\nSignature=\"$Windows NT$\"\r\nClass=System\r\nDriverVer=01/02/2026,1.2.3.4\r\n\
         [Manufacturer]\r\n%V%=M{models}\r\n[M]\r\na=b\r\n[M.NTamd64]\r\na=b\r\n[M.NTarm64]\r\na=b\r\n"
    )
}

pub fn msi(template: &str) -> Vec<u8> {
    let mut package = msi::Package::create(msi::PackageType::Installer, std::io::Cursor::new(Vec::new())).unwrap();
    package.summary_info_mut().set_arch(template);
    let text = |name: &str| msi::Column::build(name).primary_key().string(72);
    package.create_table("Property", vec![text("Property"), text("Value")]).unwrap();
    for (name, value) in [
        ("ProductName", "Sensor"),
        ("ProductVersion", "7.2.0"),
        ("ProductCode", "{11111111-2222-3333-4444-AAAAAAAAAAAA}"),
    ] {
        let row = vec![msi::Value::from(name), msi::Value::from(value)];
        package.insert_rows(msi::Insert::into("Property").row(row)).unwrap();
    }
    package.into_inner().unwrap().into_inner()
}
