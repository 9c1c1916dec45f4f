//! Keeps a compact copy of the headers of a Kafka record, with a limited size. Headers whose name is not UTF-8 are
//! left out.

/// The number of bytes that are kept, including the lengths: the same limit as for a value.
pub(crate) const LONGEST: usize = 65_535;

/// The length that marks a header without a value.
const NONE: u16 = u16::MAX;

/// Header names and values in their original order.
///
/// They are stored in one allocation, because every record has six of them and they are rarely read. Each
/// header is the length of its name (2 bytes), the length of its value (2 bytes), the name and the value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    kept: Vec<u8>,
    is_cut: bool,
}

impl Headers {
    /// Copies the headers. Headers without a name are left out. If the headers are too long, only the first
    /// ones are kept. In both cases, the copy is marked as cut.
    pub(crate) fn keep<'a, N: Into<Option<&'a str>>>(
        all: impl Iterator<Item = (N, Option<&'a [u8]>)>,
    ) -> Self {
        let (mut kept, mut is_cut) = (vec![], false);
        for (name, value) in all {
            let Some(name) = name.into() else {
                is_cut = true;
                continue;
            };
            let bytes = value.unwrap_or_default();
            if kept.len() + 4 + name.len() + bytes.len() > LONGEST {
                return Self { kept, is_cut: true };
            }
            kept.extend((name.len() as u16).to_le_bytes());
            kept.extend(value.map_or(NONE, |value| value.len() as u16).to_le_bytes());
            kept.extend(name.as_bytes());
            kept.extend(bytes);
        }
        Self { kept, is_cut }
    }

    /// The names and, if present, the values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        let mut rest = self.kept.as_slice();
        std::iter::from_fn(move || {
            let [a, b, c, d, texts @ ..] = rest else {
                return None;
            };
            let (name, texts) = texts.split_at_checked(u16::from_le_bytes([*a, *b]).into())?;
            let length = u16::from_le_bytes([*c, *d]);
            let (value, next) = match length {
                NONE => (None, texts),
                length => {
                    let (value, next) = texts.split_at_checked(length.into())?;
                    (Some(value), next)
                }
            };
            rest = next;
            Some((str::from_utf8(name).ok()?, value))
        })
    }

    /// The value of the first header with this name, ignoring case.
    pub(crate) fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))?
            .1
    }

    /// Whether some headers were left out.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_kept_until_they_are_too_long() {
        let long = vec![b'x'; LONGEST - 60];
        let all = [
            ("Content-Type", Some(&b"text/plain"[..])),
            ("none", None),
            ("long", Some(&long)),
            ("late", Some(b"x")),
        ];
        let kept = Headers::keep(all[..3].iter().copied());
        assert_eq!(kept.iter().collect::<Vec<_>>(), all[..3]);
        assert_eq!(kept.get("content-type"), Some(&b"text/plain"[..]));
        assert_eq!((kept.get("none"), kept.get("other")), (None, None));
        assert!(!kept.is_cut());
        let cut = Headers::keep(
            [all[0], ("more", Some(&[0; 10][..]))]
                .into_iter()
                .chain(all),
        );
        assert!(cut.is_cut() && cut.iter().count() == 4);
        let many = std::iter::repeat_n(("", None), LONGEST);
        assert!(Headers::keep(many).is_cut());
    }

    proptest! {
        #[test]
        fn kept_headers_are_read_back(
            all in prop::collection::vec(("[a-zé]{0,40}", prop::option::of(prop::collection::vec(any::<u8>(), 0..=256))), 0..=32),
        ) {
            let all: Vec<(&str, Option<&[u8]>)> = all.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let kept = Headers::keep(all.iter().copied());
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), all);
        }
    }
}
