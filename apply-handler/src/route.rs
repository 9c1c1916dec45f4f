//! Routing: finds the resource of a path, and the HTTP methods that this resource accepts.

use crate::problem::Problem;
use crate::web_page::WebFile;
use percent_encoding::percent_decode_str;
use rushgate_gate::{Applicant, CampaignId};
use spin_sdk::http::Method;

/// One segment more than the longest path of a resource has.
const MOST: usize = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `/`: the web page.
    Page,
    /// A file that the page names.
    PageFile(&'static WebFile),
    /// `/healthz`: the component answers.
    Health,
    /// `/readyz`: Redis answers.
    Readiness,
    /// `/openapi.json`
    OpenApi,
    /// `/v1/campaigns`
    Campaigns,
    /// `/v1/campaigns/{campaign}`
    Campaign(CampaignId),
    /// `/v1/campaigns/{campaign}/applications`
    Applications(CampaignId),
    /// `/v1/campaigns/{campaign}/applications/{user_id}`
    Application(CampaignId, Applicant),
}

/// The segments of a path, in which nothing is decoded or checked. A path is cut only once: for a refusal from the cache, this is
/// a good part of the work.
pub struct Segments<'a> {
    path: &'a str,
    cut: [&'a str; MOST],
    count: usize,
}

impl<'a> Segments<'a> {
    pub fn of(path: &'a str) -> Self {
        let mut cut = [""; MOST];
        let mut count = 0;
        for (place, segment) in cut.iter_mut().zip(path.split('/').skip(1)) {
            *place = segment;
            count += 1;
        }
        Self { path, cut, count }
    }

    /// The resource at the path. An invalid id is reported like an unknown one.
    ///
    /// # Errors
    /// When the path has no resource.
    pub fn resource(&self) -> Result<Resource, Problem> {
        let campaign = |segment: &str| {
            decoded(segment)
                .and_then(|id| CampaignId::try_from(id).ok())
                .ok_or(Problem::CampaignNotFound)
        };
        match self.cut[..self.count] {
            [""] => Ok(Resource::Page),
            ["healthz"] => Ok(Resource::Health),
            ["readyz"] => Ok(Resource::Readiness),
            ["openapi.json"] => Ok(Resource::OpenApi),
            ["v1", "campaigns"] => Ok(Resource::Campaigns),
            ["v1", "campaigns", id] => Ok(Resource::Campaign(campaign(id)?)),
            ["v1", "campaigns", id, "applications"] => Ok(Resource::Applications(campaign(id)?)),
            ["v1", "campaigns", id, "applications", user_id] => Ok(Resource::Application(
                campaign(id)?,
                decoded(user_id)
                    .and_then(|user_id| Applicant::try_from(user_id).ok())
                    .filter(Applicant::is_addressable)
                    .ok_or(Problem::ApplicationNotFound { round: None })?,
            )),
            [_, _] => match WebFile::at(self.path) {
                Some(file) => Ok(Resource::PageFile(file)),
                None => Err(Problem::NoSuchResource),
            },
            _ => Err(Problem::NoSuchResource),
        }
    }

    /// The methods of the resource at the path, in the form of the header `Allow`. The ids in the path do not matter.
    pub fn allow(&self) -> &'static str {
        match self.cut[..self.count] {
            ["v1", "campaigns", _, "applications"] => "POST, OPTIONS",
            ["v1", "campaigns", _, "applications", _] => "GET, HEAD, PUT, DELETE, OPTIONS",
            _ => "GET, HEAD, OPTIONS",
        }
    }
}

pub fn takes(allow: &str, method: &Method) -> bool {
    // Cut at a single byte, because a search for a longer text has to be prepared.
    allow
        .split(' ')
        .any(|name| name.strip_suffix(',').unwrap_or(name) == method.as_str())
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment)
        .decode_utf8()
        .ok()
        .map(|text| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_documented_path_has_its_resource() {
        let id = || "welcome".parse().expect("an id");
        let person = |user_id: &str| user_id.parse().expect("a user id");
        for (path, resource) in [
            ("/", Ok(Resource::Page)),
            ("/healthz", Ok(Resource::Health)),
            ("/readyz", Ok(Resource::Readiness)),
            ("/openapi.json", Ok(Resource::OpenApi)),
            ("/v1/campaigns", Ok(Resource::Campaigns)),
            ("/v1/campaigns/welcome", Ok(Resource::Campaign(id()))),
            (
                "/v1/campaigns/welcome/applications",
                Ok(Resource::Applications(id())),
            ),
            (
                "/v1/campaigns/welcome/applications/a%40b%3Ac",
                Ok(Resource::Application(id(), person("a@b:c"))),
            ),
            (
                "/v1/campaigns/welcome/applications/!$&'()*+,;=|~",
                Ok(Resource::Application(id(), person("!$&'()*+,;=|~"))),
            ),
            (
                "/v1/campaigns/welcome/applications/%21%24%26%27%28%29%2a%2B%2C%3B%3d%7C%7E",
                Ok(Resource::Application(id(), person("!$&'()*+,;=|~"))),
            ),
            (
                "/v1/campaigns/welcome/applications/a@b:c",
                Ok(Resource::Application(id(), person("a@b:c"))),
            ),
            ("", Err(Problem::NoSuchResource)),
            ("/v1", Err(Problem::NoSuchResource)),
            ("/v1/campaigns/", Err(Problem::CampaignNotFound)),
            (
                "/v1/campaigns/W%20/applications",
                Err(Problem::CampaignNotFound),
            ),
            (
                "/v1/campaigns/welcome/applications/",
                Err(Problem::ApplicationNotFound { round: None }),
            ),
            (
                "/v1/campaigns/welcome/applications/%2E%2e",
                Err(Problem::ApplicationNotFound { round: None }),
            ),
            (
                "/v1/campaigns/welcome/applications/a%2Fb",
                Err(Problem::ApplicationNotFound { round: None }),
            ),
            (
                "/v1/campaigns/welcome/applications/%ff",
                Err(Problem::ApplicationNotFound { round: None }),
            ),
            (
                "/v1/campaigns/welcome/applications/7/x",
                Err(Problem::NoSuchResource),
            ),
            (
                "/v1/campaigns/welcome/applications/7/x/y/z",
                Err(Problem::NoSuchResource),
            ),
        ] {
            assert_eq!(Segments::of(path).resource(), resource, "{path}");
        }
    }

    #[test]
    fn methods_are_as_documented() {
        let takes = |path: &str, method| takes(Segments::of(path).allow(), &method);
        assert!(takes("/v1/campaigns/welcome/applications", Method::POST));
        assert!(!takes("/v1/campaigns/welcome/applications", Method::GET));
        assert!(takes("/v1/campaigns/welcome/applications/7", Method::PUT));
        assert!(takes(
            "/v1/campaigns/welcome/applications/7",
            Method::DELETE
        ));
        assert!(!takes("/v1/campaigns/welcome/applications/7", Method::POST));
        assert!(takes("/v1/campaigns/welcome", Method::GET));
        assert!(!takes("/v1/campaigns/welcome", Method::PUT));
        assert!(takes("/v1/campaigns/welcome", Method::HEAD));
        assert!(!takes("/v1/campaigns/welcome", Method::DELETE));
        assert!(!takes(
            "/v1/campaigns/INVALID'S/applications",
            Method::TRACE
        ));
        assert!(!takes(
            "/healthz",
            Method::from_bytes(b"get").expect("a token")
        ));
    }

    proptest! {
        #[test]
        fn any_path_is_a_resource_or_not_found(path in "(/(v1|campaigns|applications|\\PC{0,12}|%[0-9a-f]{2})){0,6}") {
            if let Err(problem) = Segments::of(&path).resource() {
                prop_assert_eq!(problem.status().as_u16(), 404);
            }
        }
    }
}
