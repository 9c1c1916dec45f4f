//! The headers of a record: all of them, unless they are very long, or a name is not text.

/// How many bytes of them are kept, with their lengths: as much as of a value.
pub const LONGEST: usize = 65_535;

/// What stands for the length of a value that is not there.
const NONE: u16 = u16::MAX;

/// Names and values in their order.
///
/// In one piece of memory, for there are six of them on every record, and they are seldom asked for: each is the length
/// of its name (2 bytes), the length of its value (2 bytes), name, value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    kept: Vec<u8>,
    is_cut: bool,
}

impl Headers {
    /// Those of a record that have a name; if they are too long, the first of them.
    pub fn keep<'a, N: Into<Option<&'a str>>>(
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

    /// Names and values, where they have one.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
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

    /// The value of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))?
            .1
    }

    /// Whether there were others, which are not kept.
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn all_are_kept_until_they_are_too_long() {
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
        fn what_is_kept_is_read_back(
            all in prop::collection::vec(("[a-zé]{0,40}", prop::option::of(prop::collection::vec(any::<u8>(), 0..=256))), 0..=32),
        ) {
            let all: Vec<(&str, Option<&[u8]>)> = all.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
            let kept = Headers::keep(all.iter().copied());
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), all);
        }
    }
}
