//! Which source a failure belongs to.

use std::process::Command;

/// The commit of the source tree, and whether it was changed since: `commit 0123456789ab` or
/// `commit 0123456789ab with changes`; `commit unknown` outside a repository.
pub fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(head) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "commit unknown".into();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_none_or(|text| !text.is_empty());
    format!("commit {head}{}", if changed { " with changes" } else { "" })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_commit_is_named() {
        let text = super::commit();
        let name = text.strip_prefix("commit ").expect("a sentence").trim_end_matches(" with changes");
        assert!(name == "unknown" || name.len() >= 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text}");
    }
}
