use cms::{
    cert::CertificateChoices,
    content_info::ContentInfo,
    signed_data::{SignedData, SignerIdentifier, SignerInfo},
};
use der::{
    Decode as _, SliceReader, Tag, Tagged as _,
    asn1::{ObjectIdentifier, OctetStringRef},
};
use x509_cert::{Certificate, name::Name};

use super::{der_sets, words::clean};
use crate::{bytes::utf16, model::Signature};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// `szOID_CTL` of wincrypt.h: the content of a security catalogue.
const CERTIFICATE_TRUST_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.10.1");
/// PKCS #9 countersignature, and RFC 3161's under Microsoft's name `szOID_RFC3161_counterSign`.
const TIMESTAMPS: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.6"), ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.3.3.1")];
const SUBJECT_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// Who signed, from PKCS #7 in DER ("Windows Authenticode Portable Executable Signature Format"); what follows it is
/// padding. Nothing is verified.
///
/// # Errors
/// Why it cannot be read, in words.
pub(super) fn read(bytes: &[u8]) -> Result<Signature, String> {
    let signed = signed_data(bytes)?;
    let signer = signed.signer_infos.0.iter().next().ok_or("nobody signed it")?;
    let certificate = certificate_of(&signed, signer);
    let subject = certificate.map(|certificate| &certificate.tbs_certificate.subject);
    let issuer = certificate.map(|certificate| &certificate.tbs_certificate.issuer).or(match &signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(of) => Some(&of.issuer),
        SignerIdentifier::SubjectKeyIdentifier(_) => None,
    });
    let attributes = signer.unsigned_attrs.iter().flat_map(|attributes| attributes.iter());
    Ok(Signature {
        signer: subject.and_then(name),
        issuer: issuer.and_then(name),
        timestamped: attributes.into_iter().any(|attribute| TIMESTAMPS.contains(&attribute.oid)),
        verified: false,
    })
}

/// Whether these bytes are a security catalogue.
pub(super) fn is_catalog(bytes: &[u8]) -> bool {
    signed_data(bytes).is_ok_and(|signed| signed.encap_content_info.econtent_type == CERTIFICATE_TRUST_LIST)
}

fn signed_data(bytes: &[u8]) -> Result<SignedData, String> {
    if !der_sets::are_small(bytes) {
        return Err("it has too many parts".to_owned());
    }
    let mut reader = SliceReader::new(bytes).map_err(|error| error.to_string())?;
    let info = ContentInfo::decode(&mut reader).map_err(|error| error.to_string())?;
    if info.content_type != SIGNED_DATA {
        return Err("it is no signed data".to_owned());
    }
    info.content.decode_as().map_err(|error| error.to_string())
}

/// The certificate of the signer, of those that came with the signature.
fn certificate_of<'a>(signed: &'a SignedData, signer: &SignerInfo) -> Option<&'a Certificate> {
    let certificates = signed.certificates.iter().flat_map(|all| all.0.iter()).filter_map(|choice| match choice {
        CertificateChoices::Certificate(certificate) => Some(certificate),
        CertificateChoices::Other(_) => None,
    });
    let is_signers = |certificate: &&Certificate| {
        let about = &certificate.tbs_certificate;
        match &signer.sid {
            SignerIdentifier::IssuerAndSerialNumber(of) => {
                about.issuer == of.issuer && about.serial_number == of.serial_number
            }
            SignerIdentifier::SubjectKeyIdentifier(key) => {
                let known = about.extensions.iter().flatten().find(|extension| extension.extn_id == SUBJECT_KEY);
                let known = known.and_then(|known| OctetStringRef::from_der(known.extn_value.as_bytes()).ok());
                known.is_some_and(|known| known.as_bytes() == key.0.as_bytes())
            }
        }
    };
    certificates.into_iter().find(is_signers)
}

/// The common name, or else the organisation's.
fn name(of: &Name) -> Option<String> {
    let find = |wanted| {
        let pairs = of.0.iter().flat_map(|relative| relative.0.iter());
        let value = pairs.filter(|pair| pair.oid == wanted).map(|pair| &pair.value).next()?;
        clean(&match value.tag() {
            Tag::BmpString => utf16(value.value(), u16::from_be_bytes),
            _ => String::from_utf8_lossy(value.value()).into_owned(),
        })
    };
    find(COMMON_NAME).or_else(|| find(ORGANISATION))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candidate::testing::{SIGNATURE, TIMESTAMPED};

    #[test]
    fn the_signers_certificate_is_found_among_the_others() {
        let expected = Signature {
            signer: Some("Vendor Inc".into()),
            issuer: Some("Test Root".into()),
            timestamped: false,
            verified: false,
        };
        assert_eq!(read(SIGNATURE).unwrap(), expected);
        let padded = [SIGNATURE, &[0; 7]].concat();
        assert_eq!(read(&padded).unwrap(), expected);
    }

    #[test]
    fn a_countersignature_is_a_time_stamp() {
        assert!(read(TIMESTAMPED).unwrap().timestamped);
    }

    #[test]
    fn what_is_no_signature_says_why() {
        assert!(read(b"").is_err());
        assert!(read(&SIGNATURE[..SIGNATURE.len() - 1]).is_err());
        assert!(read(b"\x30\x03\x02\x01\x01").is_err());
        assert!(!is_catalog(SIGNATURE));
    }
}
