//! Finds settings of a Redis server that may lose grants or fill the machine's memory.

/// An unsafe setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisDanger {
    /// What may happen, and what to set instead.
    pub message: String,
    /// The command that sets it.
    pub command: &'static str,
}

/// Lists the unsafe settings from the reply to `INFO memory persistence`, and from `appendfsync`, which few users may
/// read. What is missing is not judged.
pub fn redis_dangers(info: &str, appendfsync: Option<&str>) -> Vec<RedisDanger> {
    let field = |name: &str| {
        let fields = info.lines().filter_map(|line| line.split_once(':'));
        let mut named = fields.filter(|(field, _)| *field == name);
        named.next().map(|(_, value)| value.trim())
    };
    let mut dangers = vec![];
    let mut add = |command, message: String| dangers.push(RedisDanger { message, command });
    if field("maxmemory") == Some("0") {
        add(
            "redis-cli config set maxmemory BYTES",
            "maxmemory is not set: when the machine's memory is full, the kernel kills Redis. With a limit, Redis only refuses grants. \
             Set maxmemory to at most half of the memory: rewriting the append-only file may need as much again"
                .to_owned(),
        );
    }
    // The other policies evict only keys that expire, and the gate's keys do not expire.
    if let Some(policy) = field("maxmemory_policy")
        && policy.starts_with("allkeys")
    {
        add(
            "redis-cli config set maxmemory-policy noeviction",
            format!(
                "maxmemory-policy is {policy}: a full Redis deletes grants to make room. Set it to noeviction"
            ),
        );
    }
    if field("aof_enabled") == Some("0") {
        add(
            "redis-cli config set appendonly yes",
            "there is no append-only file: a restart loses grants that applicants were told about. Set appendonly yes and appendfsync always"
                .to_owned(),
        );
    }
    if let Some(setting) = appendfsync.filter(|setting| *setting != "always") {
        add(
            "redis-cli config set appendfsync always",
            format!(
                "appendfsync is {setting}: a crash of the machine loses the last grants that applicants were told about. Set it to always"
            ),
        );
    }
    dangers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_settings_are_listed_and_missing_fields_are_not_judged() {
        let info = |maxmemory: &str, policy: &str, aof: &str| {
            format!(
                "# Memory\r\nused_memory:1\r\nmaxmemory:{maxmemory}\r\nmaxmemory_human:x\r\nmaxmemory_policy:{policy}\r\n\r\n\
                 # Persistence\r\nloading:0\r\naof_enabled:{aof}\r\n"
            )
        };
        let begin = |info: &str| -> Vec<String> {
            let dangers = redis_dangers(info, None).into_iter();
            dangers
                .map(|danger| danger.message.chars().take(16).collect())
                .collect()
        };
        assert_eq!(begin(&info("1000", "noeviction", "1")), [""; 0]);
        assert_eq!(begin(&info("1000", "volatile-lru", "1")), [""; 0]);
        assert_eq!(begin(&info("0", "noeviction", "1")), ["maxmemory is not"]);
        assert_eq!(begin(&info("1", "allkeys-lru", "1")), ["maxmemory-policy"]);
        assert_eq!(begin(&info("1", "noeviction", "0")), ["there is no appe"]);
        assert_eq!(begin(&info("0", "allkeys-random", "0")).len(), 3);
        assert_eq!(begin(""), [""; 0]);
        for (appendfsync, count) in [("always", 0), ("everysec", 1), ("no", 1)] {
            let dangers = redis_dangers("", Some(appendfsync));
            assert_eq!(dangers.len(), count, "{appendfsync}");
        }
    }
}
