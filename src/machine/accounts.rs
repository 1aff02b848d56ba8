//! Users and groups: the local files first, then `getent` for those that live elsewhere.
//!
//! Never asks NSS in-process: the binary is static.

use super::{Command, Machine};

/// One line of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub gecos: String,
    pub home: String,
    pub shell: String,
}

/// One line of the group database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    pub gid: u32,
    pub members: Vec<String>,
}

impl Machine {
    /// Finds a user by name.
    pub fn user(&mut self, name: &str) -> Option<User> {
        self.account("passwd", name, |user: &User| user.name == name)
    }

    /// Finds a user by number.
    pub fn user_by_id(&mut self, uid: u32) -> Option<User> {
        self.account("passwd", &uid.to_string(), |user: &User| user.uid == uid)
    }

    /// Finds a group by name.
    pub fn group(&mut self, name: &str) -> Option<Group> {
        self.account("group", name, |group: &Group| group.name == name)
    }

    /// Finds a group by number.
    pub fn group_by_id(&mut self, gid: u32) -> Option<Group> {
        self.account("group", &gid.to_string(), |group: &Group| group.gid == gid)
    }

    /// Returns the name of a user's number.
    pub fn user_name(&mut self, uid: u32) -> Option<String> {
        self.user_by_id(uid).map(|user| user.name)
    }

    /// Returns the name of a group's number.
    pub fn group_name(&mut self, gid: u32) -> Option<String> {
        self.group_by_id(gid).map(|group| group.name)
    }

    /// Returns a user's number; a number written as text is itself.
    pub fn user_id(&mut self, name: &str) -> Option<u32> {
        name.parse()
            .ok()
            .or_else(|| self.user(name).map(|user| user.uid))
    }

    /// Returns a group's number; a number written as text is itself.
    pub fn group_id(&mut self, name: &str) -> Option<u32> {
        name.parse()
            .ok()
            .or_else(|| self.group(name).map(|group| group.gid))
    }

    /// Lists the users of the local file.
    pub fn local_users(&mut self) -> Vec<User> {
        self.local_accounts("passwd")
    }

    /// Lists the groups of the local file.
    pub fn local_groups(&mut self) -> Vec<Group> {
        self.local_accounts("group")
    }

    fn local_accounts<T: Account>(&mut self, database: &str) -> Vec<T> {
        let path = std::path::Path::new("/etc").join(database);
        let text = self.read(&path).unwrap_or_default();
        parse(&text)
    }

    fn account<T: Account>(
        &mut self,
        database: &str,
        key: &str,
        wanted: impl Fn(&T) -> bool,
    ) -> Option<T> {
        if let Some(found) = self.local_accounts(database).into_iter().find(&wanted) {
            return Some(found);
        }
        // A key that getent would take for an option or a list is no account.
        if key.is_empty() || key.starts_with('-') {
            return None;
        }
        let output = self.query(&Command::new(["getent", database, key])).ok()?;
        parse(&output.stdout).into_iter().find(wanted)
    }
}

trait Account: Sized {
    fn from_fields(fields: &[&str]) -> Option<Self>;
}

impl Account for User {
    fn from_fields(fields: &[&str]) -> Option<Self> {
        let [name, _, uid, gid, gecos, home, shell] = fields else {
            return None;
        };
        Some(Self {
            name: (*name).to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            gecos: (*gecos).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
        })
    }
}

impl Account for Group {
    fn from_fields(fields: &[&str]) -> Option<Self> {
        let [name, _, gid, members] = fields else {
            return None;
        };
        Some(Self {
            name: (*name).to_owned(),
            gid: gid.parse().ok()?,
            members: members
                .split(',')
                .filter(|member| !member.is_empty())
                .map(str::to_owned)
                .collect(),
        })
    }
}

/// Reads lines of colon-separated fields; lines of another shape are left out, as in libc.
fn parse<T: Account>(text: &[u8]) -> Vec<T> {
    String::from_utf8_lossy(text)
        .lines()
        .filter_map(|line| T::from_fields(&line.split(':').collect::<Vec<_>>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_account_lines_are_left_out() {
        let users: Vec<User> =
            parse(b"root:x:0:0:root:/root:/bin/sh\n+::::::\nx:y\n\nbin:x:z:1:::\n");
        assert_eq!(users.len(), 1);
        assert_eq!((users[0].name.as_str(), users[0].uid), ("root", 0));
        let groups: Vec<Group> = parse(b"adm:x:4:a,b\nnone:x:5:\n");
        assert_eq!(groups[0].members, ["a", "b"]);
        assert!(groups[1].members.is_empty());
    }
}
