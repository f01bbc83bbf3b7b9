//! Mozilla's root certificates, in the form in which others can be added to them.

use ureq::tls::Certificate;

#[cfg(not(feature = "rustls"))]
pub(crate) fn mozilla() -> impl Iterator<Item = Certificate<'static>> {
    webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|certificate| Certificate::from_der(certificate))
}

/// rustls brings only the parts that it needs of each certificate. Whole ones besides would double the list in
/// the program, so they are rebuilt from the parts.
#[cfg(feature = "rustls")]
pub(crate) fn mozilla() -> impl Iterator<Item = Certificate<'static>> {
    webpki_roots::TLS_SERVER_ROOTS.iter().map(|root| {
        let constraints = root.name_constraints.as_deref();
        Certificate::from_der(&certificate(&root.subject, &root.subject_public_key_info, constraints))
            .to_owned()
    })
}

/// An X.509 certificate with a name, a key and perhaps name constraints (RFC 5280). A root is trusted because it is on
/// the list, so nobody checks its signature and dates.
#[cfg(feature = "rustls")]
fn certificate(subject: &[u8], public_key: &[u8], constraints: Option<&[u8]>) -> Vec<u8> {
    const VERSION_3: &[u8] = &[0xa0, 3, 0x02, 1, 2];
    const SERIAL_NUMBER: &[u8] = &[0x02, 1, 1];
    /// ecdsa-with-SHA256
    const ALGORITHM: &[u8] = &[0x30, 10, 0x06, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
    const NAME_CONSTRAINTS: &[u8] = &[0x06, 3, 0x55, 0x1d, 30];
    const NO_BITS: &[u8] = &[0x03, 1, 0];

    let sequence = |parts: &[&[u8]]| der(0x30, parts);
    let name = sequence(&[subject]);
    let validity = sequence(&[&der(0x17, &[b"000101000000Z"]), &der(0x17, &[b"491231235959Z"])]);
    let extensions = constraints.map(|constraints| {
        let value = der(0x04, &[&sequence(&[constraints])]);
        der(0xa3, &[&sequence(&[&sequence(&[NAME_CONSTRAINTS, &value])])])
    });
    let content = sequence(&[
        VERSION_3,
        SERIAL_NUMBER,
        ALGORITHM,
        &name,
        &validity,
        &name,
        &sequence(&[public_key]),
        &extensions.unwrap_or_default(),
    ]);
    sequence(&[&content, ALGORITHM, NO_BITS])
}

/// A value in DER: its tag, the length in the shortest form, and the content.
#[cfg(feature = "rustls")]
fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let mut value = vec![tag];
    if content.len() >= 0x80 {
        value.push(0x80 | length.len() as u8);
    }
    value.extend(length);
    value.extend(content);
    value
}

#[cfg(all(test, feature = "rustls"))]
mod tests {
    use rustls::RootCertStore;
    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn rustls_reads_the_rebuilt_certificates_as_the_roots_that_it_brings() {
        let mut store = RootCertStore::empty();
        for certificate in mozilla() {
            store.add(CertificateDer::from(certificate.der())).unwrap();
        }
        assert!(store.roots.len() > 100);
        assert_eq!(store.roots, webpki_roots::TLS_SERVER_ROOTS);
    }

    #[test]
    fn name_constraints_are_kept() {
        let constraints = [0xa0, 9, 0x30, 7, 0x82, 5, b'.', b't', b'e', b's', b't'];
        let root = &webpki_roots::TLS_SERVER_ROOTS[0];
        let rebuilt = certificate(&root.subject, &root.subject_public_key_info, Some(&constraints));
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from(rebuilt)).unwrap();
        assert_eq!(store.roots[0].name_constraints.as_deref(), Some(&constraints[..]));
    }
}
