//! A request template. The requests that are made from it differ only in the user id.

use super::requests::Requests;

/// Digits of a user id: constant, so that all lengths are constant.
const DIGITS: usize = 12;

/// Placeholder of the user id in a template.
pub const MARK: &str = "000000000000";

/// The bytes of a request, and the position of the user id.
#[derive(Clone, Debug)]
pub struct Template {
    bytes: Vec<u8>,
    digits: Option<usize>,
    second_clicks: Option<u64>,
}

impl Template {
    /// A template of this text; its last run of twelve zeros, if any, is the user id.
    pub fn new(text: String) -> Self {
        Self {
            digits: text.rfind(MARK),
            bytes: text.into_bytes(),
            second_clicks: None,
        }
    }

    /// `GET` of a path, without a user id.
    pub fn get(path: &str) -> Self {
        Self::new(format!("GET {path} HTTP/1.1\r\nhost: load\r\n\r\n"))
    }

    /// An application to `campaign` by POST. `minimal` asks for an answer without a body.
    pub fn application(campaign: &str, minimal: bool) -> Self {
        let prefer = prefer(minimal);
        let body = format!(r#"{{"user_id":"{MARK}"}}"#);
        Self::new(format!(
            "POST /v1/campaigns/{campaign}/applications HTTP/1.1\r\nhost: load\r\n\
             content-type: application/json\r\n{prefer}content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    /// An application to `campaign` by PUT, without a body.
    pub fn put(campaign: &str, minimal: bool) -> Self {
        let prefer = prefer(minimal);
        Self::new(format!(
            "PUT /v1/campaigns/{campaign}/applications/{MARK} HTTP/1.1\r\nhost: load\r\n{prefer}\r\n"
        ))
    }

    /// A command to Redis.
    pub fn command(words: &[&str]) -> Self {
        let words: String = words
            .iter()
            .map(|word| format!("${}\r\n{word}\r\n", word.len()))
            .collect::<Vec<_>>()
            .concat();
        let count = words.split("\r\n").count() / 2;
        Self::new(format!("*{count}\r\n{words}"))
    }

    /// The same, where one applicant in this many clicks twice: the request after their first one is theirs as well.
    #[must_use]
    pub fn with_second_clicks(mut self, one_in: u64) -> Self {
        self.second_clicks = Some(one_in);
        self
    }

    /// The request with this number.
    pub fn of(&mut self, mut number: u64) -> &[u8] {
        if let Some(one_in) = self.second_clicks {
            number -= (number + 1) / (one_in + 1);
        }
        if let Some(begin) = self.digits {
            for digit in self.bytes[begin..begin + DIGITS].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        }
        &self.bytes
    }

    /// The user id in the request with this number.
    pub fn user_id(number: u64) -> String {
        format!("{number:0DIGITS$}")
    }
}

fn prefer(minimal: bool) -> &'static str {
    if minimal {
        "prefer: return=minimal\r\n"
    } else {
        ""
    }
}

/// They alternate.
impl Requests for Vec<Template> {
    fn write(&mut self, number: u64, out: &mut Vec<u8>) {
        let turn = number % self.len().max(1) as u64;
        if let Some(template) = self.get_mut(turn as usize) {
            out.extend_from_slice(template.of(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(template: &mut Template, number: u64) -> String {
        String::from_utf8(template.of(number).to_vec()).unwrap()
    }

    #[test]
    fn only_the_user_id_changes() {
        let mut template = Template::application("welcome", true);
        let first = text(&mut template, 7);
        assert!(first.ends_with(r#"{"user_id":"000000000007"}"#), "{first}");
        assert!(first.contains("prefer: return=minimal\r\n"), "{first}");
        let second = text(&mut template, 123_456);
        assert_eq!(second, first.replace("000000000007", "000000123456"));
        assert!(second.contains(&Template::user_id(123_456)));
        let put = text(&mut Template::put("welcome", false), 7);
        let head =
            "PUT /v1/campaigns/welcome/applications/000000000007 HTTP/1.1\r\nhost: load\r\n\r\n";
        assert_eq!(put, head);
    }

    #[test]
    fn one_in_so_many_clicks_twice() {
        let mut template = Template::new(MARK.to_owned()).with_second_clicks(3);
        let people: Vec<_> = (0..9).map(|number| text(&mut template, number)).collect();
        let expected = [0, 1, 2, 2, 3, 4, 5, 5, 6].map(Template::user_id);
        assert_eq!(people, expected);
    }

    #[test]
    fn a_template_without_a_user_id_stays_as_it_is() {
        let mut template = Template::get("/");
        assert_eq!(text(&mut template, 1), text(&mut template, 2));
    }

    #[test]
    fn commands_are_what_redis_reads() {
        let mut command = Template::command(&["SADD", "holders", MARK]);
        assert_eq!(
            text(&mut command, 42),
            "*3\r\n$4\r\nSADD\r\n$7\r\nholders\r\n$12\r\n000000000042\r\n"
        );
    }
}
