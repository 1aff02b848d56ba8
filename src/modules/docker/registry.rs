//! Images on their way: pulled and pushed, with the login of their registry, and given other
//! names.

use base64::Engine;
use serde_json::Value as Json;

use super::daemon::{Daemon, joined, quoted};
use crate::machine::Effect;
use crate::modules::Failure;

/// What a registry said of an image that was pushed to it.
pub(super) struct Pushed {
    /// The registry did not have all of it.
    pub(super) changed: bool,
    pub(super) status: Json,
}

impl Daemon<'_> {
    /// Pulls an image; tells whether it is another one than before.
    pub(super) fn pull(
        &mut self,
        name: &str,
        tag: &str,
        platform: Option<&str>,
    ) -> Result<bool, Failure> {
        let shown = joined(name, tag);
        let old = self.image(&shown)?;
        let mut path = format!(
            "/images/create?fromImage={}&tag={}",
            quoted(name),
            quoted(tag)
        );
        if let Some(platform) = platform {
            path += &format!("&platform={}", quoted(platform));
        }
        let headers = self.login_of(name)?;
        let effect = match old
            .as_ref()
            .and_then(|old| old.get("Id"))
            .and_then(Json::as_str)
        {
            Some(id) => self.undone_by(format!("pull {shown}"), &["tag", id, &shown]),
            None => self.undone_by(format!("pull {shown}"), &["rmi", &shown]),
        };
        let said = self
            .change("POST", &path, None, &headers, effect)
            .map_err(|failure| {
                Failure::new(format!("Error pulling image {shown} - {}", failure.msg))
            })?
            .unwrap_or_default();
        let events = said.as_array().cloned().unwrap_or_default();
        if let Some(error) = events.iter().find_map(|event| event.get("error")) {
            let error = error.as_str().unwrap_or_default();
            return Err(Failure::new(format!("Error pulling {name} - {error}")));
        }
        let new = self.image(&shown)?;
        let id = |image: &Option<Json>| image.as_ref().and_then(|it| it.get("Id").cloned());
        Ok(id(&old) != id(&new))
    }

    /// Returns the header that logs in at the registry of an image, where there is a login.
    pub(super) fn login_of(&mut self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let registry = registry_of(name);
        let Some(config) = super::login::config(self.machine)? else {
            return Ok(Vec::new());
        };
        let auths = config.get("auths").and_then(Json::as_object);
        let entry = auths.and_then(|auths| {
            let names = if registry == "docker.io" {
                vec!["https://index.docker.io/v1/", "docker.io"]
            } else {
                vec![registry]
            };
            names.iter().find_map(|name| auths.get(*name))
        });
        let Some(login) = entry
            .and_then(|entry| entry.get("auth"))
            .and_then(Json::as_str)
            .and_then(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
            .and_then(|bytes| String::from_utf8(bytes).ok())
        else {
            return Ok(Vec::new());
        };
        let (user, password) = login.split_once(':').unwrap_or((&login, ""));
        let json = serde_json::json!({
            "username": user, "password": password, "serveraddress": registry,
        });
        let text = base64::engine::general_purpose::URL_SAFE.encode(json.to_string());
        Ok(vec![("X-Registry-Auth".into(), text)])
    }

    /// Pushes an image.
    pub(super) fn push(&mut self, name: &str, tag: &str) -> Result<Pushed, Failure> {
        let mut headers = self.login_of(name)?;
        if headers.is_empty() {
            let nobody = base64::engine::general_purpose::URL_SAFE.encode("{}");
            headers.push(("X-Registry-Auth".into(), nobody));
        }
        let path = format!("/images/{}/push?tag={}", quoted(name), quoted(tag));
        let effect = Effect::opaque(format!("push {}", joined(name, tag)));
        let said = self
            .change("POST", &path, None, &headers, effect)?
            .unwrap_or_default();
        let mut pushed = Pushed {
            changed: false,
            status: Json::Null,
        };
        for event in said.as_array().into_iter().flatten() {
            if let Some(error) = event.get("error").and_then(Json::as_str) {
                return Err(Failure::new(error));
            }
            pushed.status = event.get("status").cloned().unwrap_or_default();
            pushed.changed |= matches!(pushed.status.as_str(), Some("Pushing" | "Pushed"));
        }
        Ok(pushed)
    }

    /// Gives an image another name, which until now is that of the image `old`; `false` in check
    /// mode.
    pub(super) fn tag(
        &mut self,
        image: &str,
        name: &str,
        tag: &str,
        old: Option<&str>,
    ) -> Result<bool, Failure> {
        let new = joined(name, tag);
        let effect = match old {
            Some(old) => self.undone_by(format!("tag {new}"), &["tag", old, &new]),
            None => self.undone_by(format!("tag {new}"), &["rmi", &new]),
        };
        let path = format!(
            "/images/{}/tag?repo={}&tag={}",
            quoted(image),
            quoted(name),
            quoted(tag)
        );
        Ok(self.post(&path, None, effect)?.is_some())
    }

    /// Removes an image, which can be pulled again where it has a digest.
    pub(super) fn remove_image(
        &mut self,
        name: &str,
        image: &Json,
        query: &str,
    ) -> Result<Option<Json>, Failure> {
        // A digest can be pulled again; what was only built here cannot.
        let digest = image
            .get("RepoDigests")
            .and_then(Json::as_array)
            .and_then(|digests| digests.first()?.as_str());
        let effect = match digest {
            Some(digest) => self.undone_by(format!("remove image {name}"), &["pull", digest]),
            None => Effect::opaque(format!("remove image {name}")),
        };
        let path = format!("/images/{}?{query}", quoted(name));
        self.delete(&path, effect)
    }
}

/// Returns the registry that an image's name names.
pub(super) fn registry_of(name: &str) -> &str {
    match name.split_once('/') {
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => first,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_stands_before_the_name() {
        assert_eq!(registry_of("quay.io/a/b"), "quay.io");
        assert_eq!(registry_of("library/nginx"), "docker.io");
    }
}
