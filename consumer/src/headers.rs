//! The headers of a record, as far as they are worth keeping.

/// How many headers are kept, and how much of each. All of them escaped as JSON fit a `TEXT`.
const MOST: usize = 32;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 256;

/// `content-type` and those of CloudEvents (`ce_…`), in their order.
///
/// In one piece of memory, for there are six of them on every record, and they are asked for once: each is the length
/// of its name (1 byte), the length of its value (2 bytes), name, value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<u8>);

impl Headers {
    /// Those worth keeping among all of a record.
    pub fn keep<'a>(all: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>) -> Self {
        let worth_keeping = all.filter(|(name, _)| {
            name.len() <= LONGEST_NAME
                && (name.eq_ignore_ascii_case("content-type") || name.starts_with("ce_"))
        });
        let mut kept = vec![];
        for (name, value) in worth_keeping.take(MOST) {
            let value = value.unwrap_or_default();
            let value = &value[..value.len().min(LONGEST_VALUE)];
            kept.push(name.len() as u8);
            kept.extend((value.len() as u16).to_le_bytes());
            kept.extend(name.as_bytes());
            kept.extend(value);
        }
        Self(kept)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = self.0.as_slice();
        std::iter::from_fn(move || {
            let [name_length, a, b, texts @ ..] = rest else {
                return None;
            };
            let (name, texts) = texts.split_at_checked(usize::from(*name_length))?;
            let (value, next) = texts.split_at_checked(u16::from_le_bytes([*a, *b]).into())?;
            rest = next;
            Some((str::from_utf8(name).ok()?, value))
        })
    }

    /// The value of that name, whatever its case.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_ours_are_kept_and_not_all_of_them() {
        let long = [b'x'; 300];
        let all = [
            ("Content-Type", Some(&b"text/plain"[..])),
            ("trace", Some(b"y")),
            ("ce_id", None),
            ("ce_long", Some(&long)),
        ];
        let kept = Headers::keep(all.into_iter());
        let expected = [
            ("Content-Type", &b"text/plain"[..]),
            ("ce_id", b""),
            ("ce_long", &long[..256]),
        ];
        assert_eq!(kept.iter().collect::<Vec<_>>(), expected);
        assert_eq!(kept.get("content-type"), Some(&b"text/plain"[..]));
        assert_eq!(kept.get("ce_other"), None);
        let many = std::iter::repeat_n(("ce_x", None), 40);
        assert_eq!(Headers::keep(many).iter().count(), 32);
    }

    proptest! {
        #[test]
        fn what_is_kept_is_read_back(
            all in prop::collection::vec(("ce_[a-zé]{0,40}", prop::collection::vec(any::<u8>(), 0..=256)), 0..=32),
        ) {
            let all: Vec<(&str, &[u8])> = all.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
            let all: Vec<(&str, &[u8])> = all.into_iter().filter(|(name, _)| name.len() <= 64).collect();
            let kept = Headers::keep(all.iter().map(|(name, value)| (*name, Some(*value))));
            prop_assert_eq!(kept.iter().collect::<Vec<_>>(), all);
        }
    }
}
